using KvCache.Client.Connections;
using KvCache.Engine.Wire;

namespace KvCache.Client.Cluster;

/// <summary>What a match with a hold has found, for the loads that follow it: they ask nobody where the blocks are, and read what is
/// held.</summary>
internal sealed class MatchedChain(PrefixChain chain)
{
    private readonly List<MatchedPiece> _pieces = [];

    /// <summary>Adds what one request has found.</summary>
    public void Add(MatchedPiece piece) => _pieces.Add(piece);

    /// <summary>What was found of a run of blocks.</summary>
    /// <param name="prefix">The prefix that is loaded.</param>
    /// <param name="first">First block.</param>
    /// <param name="end">Block behind the last one.</param>
    /// <returns>Null when not all of it was found by one request, or the match is of another chain.</returns>
    public MatchedPiece? Find(KvPrefix prefix, int first, int end)
    {
        var found = _pieces.Find(piece => piece.First <= first && piece.End >= end);
        return found is not null
            && (ReferenceEquals(prefix.Chain, chain) || prefix.Chain.Hashes[first..end].SequenceEqual(chain.Hashes[first..end]))
            ? found
            : null;
    }
}

/// <summary>What one request of a match has found.</summary>
/// <param name="group">The ranks that were asked for.</param>
/// <param name="home">Who was asked.</param>
/// <param name="hold">What it holds for the match; null for nothing.</param>
/// <param name="first">First block.</param>
/// <param name="found">Blocks found from there on.</param>
/// <param name="locations">Where they are, rank by rank; null where it was not told.</param>
internal sealed class MatchedPiece(
    RankGroup group, SiloConnector home, MatchHold? hold, int first, int found, BlockLocations?[] locations)
{
    private int _unread = group.Count;

    public SiloConnector Home => home;

    public int First => first;

    public int End => first + found;

    /// <summary>Where blocks of a rank are; null where that was not told.</summary>
    public BlockLocations? Locate(CacheNamespace ns, int from, int to)
    {
        var rank = group.Namespaces.IndexOf(ns);
        return rank < 0 ? null : locations[rank]?.Slice(from - first, to - from);
    }

    /// <summary>What the home silo holds, for a get of a rank's blocks up to one of them. The hold ends with the last block of the last
    /// rank.</summary>
    public HoldToRead HoldFor(int end) =>
        hold is null ? default : new HoldToRead(hold.Id, end == End && Interlocked.Decrement(ref _unread) == 0);

    /// <summary>A get has read all that it was to read of the hold.</summary>
    public void HasRead(HoldToRead read) => hold?.IsOver |= read.Ends;
}

/// <summary>Blocks that a silo keeps for a match.</summary>
/// <param name="silo">The silo.</param>
/// <param name="connection">The connection with which the hold ends.</param>
/// <param name="id">The silo's name for it.</param>
internal sealed class MatchHold(SiloConnector silo, BlockConnection connection, ulong id)
{
    public SiloConnector Silo => silo;

    public BlockConnection Connection => connection;

    public ulong Id => id;

    /// <summary>A get has ended it.</summary>
    public bool IsOver { get; set; }
}
