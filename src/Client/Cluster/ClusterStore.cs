using KvCache.Caching;
using KvCache.Client.Connections;
using KvCache.Engine.Wire;

namespace KvCache.Client.Cluster;

/// <summary>
/// One store: at the home silo, and what that has no memory for once at the silo that it names instead.
/// </summary>
internal sealed class ClusterStore
{
    private readonly SiloDirectory _silos;
    private readonly KvPrefix _prefix;
    private readonly int _firstBlock;
    private readonly IReadOnlyList<ReadOnlyMemory<byte>> _blocks;
    private readonly StoreOptions _options;
    private readonly CallBudget _budget;
    private readonly List<(IReadOnlyList<string> Endpoints, int First, int Count)> _crowdedOut = [];
    private StoreResult _result;
    private int _done;

    public ClusterStore(
        SiloDirectory silos, KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions options,
        CallBudget budget)
    {
        _silos = silos;
        _prefix = prefix;
        _firstBlock = firstBlock;
        _blocks = blocks;
        _options = options;
        _budget = budget;
    }

    public async ValueTask<StoreResult> RunAsync()
    {
        var (reason, home) = await _budget.RunAsync(_silos.Homes, silo => silo.Data, StoreAtHome).ConfigureAwait(false);
        home?.Stored(_result.Stored);
        foreach (var (endpoints, first, count) in _crowdedOut)
        {
            var before = _result.Stored;
            var alternative = _silos.Find(endpoints);
            if (alternative is null
                || await _budget.RunAsync(alternative.Data, connection => StoreElsewhere(connection, first, count), isPatient: true)
                .ConfigureAwait(false) != MissReason.None)
                Refuse(count);
            alternative?.Stored(_result.Stored - before);
        }

        return _result with { Reason = reason };
    }

    private MissReason StoreAtHome(BlockConnection connection)
    {
        foreach (var (first, count) in RequestPieces.Of(_done, _blocks.Count, RequestPieces.MostMoved))
        {
            var reply = Put(connection, first, count);
            for (var i = 0; i < reply.Outcomes.Length; i++)
            {
                if (reply.Outcomes[i].IsNoRoom() && reply.Alternatives.Count > 0)
                    CrowdOut(reply.Alternatives, first + i);
                else
                    _result = _result.With(reply.Outcomes[i]);
            }

            _done = first + count;
        }

        return MissReason.None;
    }

    private MissReason StoreElsewhere(BlockConnection connection, int first, int count)
    {
        foreach (var outcome in Put(connection, first, count).Outcomes)
            _result = _result.With(outcome);
        return MissReason.None;
    }

    private PutReply Put(BlockConnection connection, int first, int count)
    {
        var depth = _firstBlock + first;
        var parent = depth == 0 ? default : _prefix.Chain.Hashes[depth - 1];
        return connection.Put(_prefix.Namespace, Hashes(first, count), parent, depth, _blocks, first, _options, _prefix.Hint);
    }

    private void CrowdOut(IReadOnlyList<string> endpoints, int block)
    {
        if (_crowdedOut.Count > 0 && _crowdedOut[^1] is var last && ReferenceEquals(last.Endpoints, endpoints)
            && last.First + last.Count == block)
            _crowdedOut[^1] = last with { Count = last.Count + 1 };
        else
            _crowdedOut.Add((endpoints, block, 1));
    }

    private void Refuse(int count)
    {
        for (var i = 0; i < count; i++)
            _result = _result.With(PutOutcome.NoMemory);
    }

    private ReadOnlySpan<BlockHash> Hashes(int first, int count) => _prefix.Chain.Hashes.Slice(_firstBlock + first, count);
}
