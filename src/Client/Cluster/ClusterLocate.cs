using KvCache.Client.Connections;
using KvCache.Engine.Wire;

namespace KvCache.Client.Cluster;

/// <summary>Asks the home silo who holds a chain of any length. Not a read of its blocks: nobody makes copies for it.</summary>
internal sealed class ClusterLocate(SiloDirectory silos, KvPrefix prefix, CallBudget budget)
{
    private readonly List<BlockHolder> _silos = [];
    private readonly List<BlockRun> _runs = [];
    private int _found;

    /// <returns>Null when no silo has answered for all of it in time.</returns>
    public async ValueTask<BlockLocations?> RunAsync()
    {
        foreach (var (first, count) in RequestPieces.Of(0, prefix.BlockCount, WireProtocol.MaxBlocksPerRequest))
        {
            BlockLocations? piece = null;
            await budget.RunAsync(silos.Homes, silo => silo.Control, connection =>
            {
                piece = connection.Locate(prefix.Namespace, prefix.Chain.Hashes.Slice(first, count), isRead: false);
                return MissReason.None;
            }).ConfigureAwait(false);
            if (piece is null)
                return null;
            Add(piece);
            if (piece.Found < count)
                break;
        }

        return new BlockLocations(_found, _silos, _runs);
    }

    // Every answer numbers the silos in its own way.
    private void Add(BlockLocations piece)
    {
        var numbers = new int[piece.Silos.Count];
        for (var i = 0; i < numbers.Length; i++)
        {
            var silo = piece.Silos[i];
            numbers[i] = _silos.FindIndex(known => known.Endpoints.SequenceEqual(silo.Endpoints));
            if (numbers[i] >= 0)
                continue;
            numbers[i] = _silos.Count;
            _silos.Add(silo);
        }

        foreach (var run in piece.Runs)
        {
            var holders = run.Holders & BlockRun.Redis;
            for (var i = 0; i < numbers.Length; i++)
            {
                if ((run.Holders & (1UL << i)) != 0 && numbers[i] < WireProtocol.MaxSilosPerLocate)
                    holders |= 1UL << numbers[i];
            }

            _runs.Add(run with { Holders = holders });
        }

        _found += piece.Found;
    }
}
