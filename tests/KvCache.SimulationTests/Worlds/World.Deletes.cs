using KvCache.Engine.Index;
using KvCache.Engine.Wire;
using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Worlds;

/// <content>Deletions, and what each of them promises.</content>
internal sealed partial class World
{
    private readonly List<Deletion> _deletes = [];
    private int _joined;

    /// <summary>Runs a deletion that a silo coordinates.</summary>
    public async ValueTask<bool> DeleteFrom(ModelSilo silo, int block, Func<ValueTask<bool>> delete)
    {
        var confirmed = true;
        var deletion =
            new Deletion(
            silo, block, _joined, KnowsAll(silo),
            [.. History.All.Where(write => write.Block == block).Select(write => (write, write.Generation))]);
        _deletes.Add(deletion);
        var removed = false;
        try
        {
            removed = await delete();
        }
        catch (TimeoutException)
        {
            confirmed = false; // it said so, and goes on
        }

        _deletes.Remove(deletion);
        var complete = confirmed && deletion.KnewAll && KnowsAll(silo) && deletion.Joined == _joined;
        Trace.Add($"  K{block} is deleted by S{silo.Node}{(complete ? "" : ", but not everybody has said so")}");
        foreach (var (write, generation) in deletion.Older)
        {
            // What was reserved here is dead here, finished or not; what was stored is dead everywhere.
            if (write.Silo == silo.Node)
                silo.Hear(block, generation + 1);

            if (!deletion.Stored.Contains(write))
                continue;
            if (complete)
                write.Deleted = true;
            else if (silo.Directory.Tombstones.IsDead(TestBlocks.Keys[block], generation))
                write.DeletedBy = silo.Node; // it knows, and tells the others; of what it has not heard its stamp may be too early
        }

        return removed;
    }

    /// <summary>What a silo does when another one asks it to delete a block.</summary>
    public KvCache.Engine.Index.Deletion DeleteAt(ModelSilo silo, BlockKey key, ulong stamp)
    {
        if (Mutation == Mutation.IgnoresDeletes)
            return default;
        var deletion = silo.Directory.Delete(key, stamp);
        if (deletion.Known)
            silo.Hear(TestBlocks.NumberOf(key), deletion.Stamp);
        return deletion;
    }

    /// <summary>What a silo does when it is told a later stamp of a deletion that it was asked for.</summary>
    public void BuryAt(ModelSilo silo, BlockKey key, ulong stamp)
    {
        if (Mutation == Mutation.IgnoresDeletes)
            return;
        silo.Directory.Bury(key, stamp);
        silo.Hear(TestBlocks.NumberOf(key), stamp);
    }

    private void Delete(ModelSilo silo, int block)
    {
        if (_dice.Chance(50))
        {
            Trace.Add($"S{silo.Node} asks the grain to delete K{block}");
            _ = silo.Grains.Prefix(block).DeleteAsync(default).AsTask();
        }
        else
        {
            Trace.Add($"S{silo.Node} deletes K{block}");
            _ = DeleteFrom(silo, block, async () =>
            {
                var outcome = (await silo.Cluster.DeleteAsync([TestBlocks.Keys[block]], default))[0];
                return outcome == ItemOutcome.Unconfirmed ? throw new TimeoutException() : outcome == ItemOutcome.Done;
            }).AsTask();
        }
    }

    private bool KnowsAll(ModelSilo silo) => Alive.All(other => other == silo || silo.Members.Find(other.SiloAddress) is not null);

    internal sealed class Deletion(
        ModelSilo silo, int block, int joined, bool knewAll, IReadOnlyList<(Write Write, ulong Generation)> older)
    {
        public ModelSilo Silo => silo;

        public int Block => block;

        public int Joined => joined;

        public bool KnewAll => knewAll;

        /// <summary>Writes that had begun before.</summary>
        public IReadOnlyList<(Write Write, ulong Generation)> Older => older;

        /// <summary>Those of them that were stored.</summary>
        public HashSet<Write> Stored { get; } = [.. older.Select(old => old.Write).Where(write => write.Sealed)];
    }
}
