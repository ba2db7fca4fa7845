using KvCache.Engine.Wire;
using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Worlds;

/// <content>Lives that are set, and what a confirmed one promises.</content>
internal sealed partial class World
{
    // Changes that have not ended, or ended without a confirmation: parts of them may still take effect at any time.
    private readonly int[] _openChanges = new int[TestBlocks.Count];
    private readonly int[] _changes = new int[TestBlocks.Count];

    /// <summary>For every block, the latest end of a life that somebody set, on the clock of whoever did.</summary>
    public DateTimeOffset[] LatestLives { get; } = new DateTimeOffset[TestBlocks.Count];

    /// <summary>What a silo does when another one asks it to set the life of blocks.</summary>
    public Task<bool?[]> SetLifeAt(ModelSilo silo, BlockKey[] keys, TimeSpan life, ulong stamp)
    {
        foreach (var key in keys)
            NoteLife(silo, TestBlocks.NumberOf(key), life);
        return Mutation == Mutation.ForgetsLives
            ? Task.FromResult(Array.ConvertAll<BlockKey, bool?>(keys, key => silo.Store.SetTimeToLive(key, life)))
            : silo.Fetcher.SetTimeToLiveAsync(keys, life, stamp);
    }

    private void SetLife(ModelSilo silo, int block)
    {
        var life = TimeSpan.FromMilliseconds(1 + _dice.Next(20_000));
        Trace.Add($"S{silo.Node} gives K{block} {life.TotalMilliseconds} ms to live");
        NoteLife(silo, block, life);
        _ = SetLifeAsync(silo, block, life);
    }

    private async Task SetLifeAsync(ModelSilo silo, int block, TimeSpan life)
    {
        // Of what it has not heard, its stamp may be too early.
        var writes = History.All.Where(write => write.Block == block && write.Sealed && write.Generation <= silo.Store.Clock).ToArray();
        foreach (var write in History.All.Where(write => write.Block == block))
            write.PromisedEnd = null;
        var (joined, knewAll, others, number) = (_joined, KnowsAll(silo), _openChanges[block]++, ++_changes[block]);

        var outcome = (await silo.Cluster.SetTimeToLiveAsync([TestBlocks.Keys[block]], life, default))[0];

        if (outcome == ItemOutcome.Unconfirmed)
            return;
        _openChanges[block]--;
        if (others > 0 || number != _changes[block] || !knewAll || !KnowsAll(silo) || joined != _joined)
            return;
        Trace.Add($"  the life of K{block} is confirmed to S{silo.Node}");
        var end = Alive.Max(other => other.Clock.GetUtcNow()) + life;
        foreach (var write in writes)
            write.PromisedEnd = end;
    }

    // It may reach another generation than the one that was meant, in Redis too.
    private void NoteLife(ModelSilo silo, int block, TimeSpan life)
    {
        var end = silo.Clock.GetUtcNow() + life;
        if (end > LatestLives[block])
            LatestLives[block] = end;
    }
}
