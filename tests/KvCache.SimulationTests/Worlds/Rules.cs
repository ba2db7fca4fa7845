using System.Runtime.CompilerServices;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Worlds;

/// <summary>The rules of docs/simulation.md.</summary>
internal sealed class Rules(World world)
{
    private const ulong SelfBit = 1UL << BlockDirectory.Self;
    private const ulong RedisBit = 1UL << PrefixIndex.RedisHolder;

    // Step after which a live store or Redis last had a block.
    private readonly int[] _seen = [.. Enumerable.Repeat(int.MinValue, TestBlocks.Count)];

    /// <summary>What must be true after every step.</summary>
    public void Check()
    {
        foreach (var silo in world.Alive)
        {
            for (var block = 0; block < TestBlocks.Count; block++)
                CheckBlock(silo, block);
            CheckBudget(silo);
        }
    }

    /// <summary>Notes which blocks a live store or Redis has.</summary>
    public void Look()
    {
        for (var block = 0; block < TestBlocks.Count; block++)
        {
            var key = TestBlocks.Keys[block];
            if (world.Redis.Find(key) is not null || world.Alive.Any(silo => silo.Store.Contains(key)))
                _seen[block] = world.Step;
        }
    }

    /// <summary>What must be true when nothing happens any more.</summary>
    public void CheckRest()
    {
        Check();
        foreach (var silo in world.Alive)
        {
            CheckIndex(silo);
            CheckMemory(silo);
        }

        foreach (var write in world.History.All)
        {
            if (!write.Deleted && (write.DeletedBy < 0 || !world.IsAlive(write.DeletedBy)))
                continue;
            var key = TestBlocks.Keys[write.Block];
            foreach (var silo in world.Alive)
                IsTrue(silo.Store.Describe(key)?.Generation != write.Generation,
                    $"{write} was deleted and is still visible on S{silo.Node}");
            IsTrue(!write.Deleted
                || world.Redis.Find(key)?.Header.Generation != write.Generation, $"{write} was deleted and is still in Redis");
        }
    }

    /// <summary>At most one write of a block is accepted at a time, as far as its grain can know, and none loses its turn before its time
    /// is over.</summary>
    /// <param name="activation">The grain.</param>
    /// <param name="write">The write that it has accepted.</param>
    /// <param name="rivals">Writes that it had accepted before and that ran when it was asked.</param>
    public void CheckAccepted(Activation activation, Write write, IReadOnlyList<Write> rivals)
    {
        if (activation.LostTouch)
            return;
        foreach (var rival in rivals)
        {
            if (rival == write || !world.IsAlive(rival.Silo))
                continue;
            IsTrue(!world.IsRunning(rival), $"{write} was accepted while {rival} is running");
            IsTrue(!world.IsOpen(rival)
                || activation.Silo.Clock.GetUtcNow() - rival.AcceptedAt >= ModelGrains.WriteLimit,
                $"{write} was accepted in the place of {rival}, whose time is not over");
        }
    }

    /// <summary>Somebody was told that a block is stored already: a live store or Redis has had it since the question.</summary>
    public void CheckStored(int block, int asked) =>
        IsTrue(_seen[block] >= asked - 1, $"K{block} was said to be stored, but nobody has had it since step {asked}");

    /// <summary>A reader gets the bytes of one write, and of the one that it was promised.</summary>
    public void CheckContent(BlockLease lease)
    {
        var block = TestBlocks.NumberOf(lease.Key);
        var write = world.History.Find(block, lease.Generation);
        IsTrue(write is not null && TestBlocks.WriteOf(lease.Bytes, block) == write.Id
            && lease.FindDamage(lease.Layout.AllLayers) is null, $"a read of K{block} gets other bytes than those of {write}");
    }

    public static void IsTrue(bool condition, [InterpolatedStringHandlerArgument(nameof(condition))] ref Reason reason)
    {
        if (!condition)
            throw new BrokenRuleException(reason.Text);
    }

    private void CheckBlock(ModelSilo silo, int block)
    {
        var key = TestBlocks.Keys[block];
        var visible = silo.Store.Describe(key);
        if ((silo.Directory.Index.HoldersOf(key) & SelfBit) != 0 != visible is not null)
            throw new BrokenRuleException(
                $"S{silo.Node} {(visible is null ? "says that it has" : "has")} K{block}, but its {(visible is null ? "store" : "index")} "
                + "does not know");
        if (visible is not { Generation: var generation })
            return;
        var write = world.History.Find(block, generation);
        if (write is not { Sealed: true })
            throw new BrokenRuleException(
                $"S{silo.Node} shows {write?.ToString() ?? $"an unknown write of K{block}"}, which was not finished");
        if (generation < silo.Heard[block])
            throw new BrokenRuleException(
                $"S{silo.Node} shows {write}, and has heard that everything before {Write.Short(silo.Heard[block])} is deleted");
        if (write.Deleted)
            throw new BrokenRuleException($"S{silo.Node} shows {write}, which was deleted everywhere");
        if (write.ExpiresAt is { } end && silo.Clock.GetUtcNow() is var now && now >= end && now >= world.LatestLives[block])
            throw new BrokenRuleException($"S{silo.Node} shows {write}, whose life has ended");
        if (write.PromisedEnd is { } last && silo.Clock.GetUtcNow() >= last)
            throw new BrokenRuleException($"S{silo.Node} shows {write}, although it was confirmed that its life ends before");
    }

    private static void CheckBudget(ModelSilo silo)
    {
        var arena = silo.Store.Arena;
        var counts = silo.Store.GetStatistics();
        if (arena.UsedBytes > arena.Capacity)
            throw new BrokenRuleException($"S{silo.Node} uses {arena.UsedBytes} of {arena.Capacity} bytes");
        if (counts.PinnedBytes > ModelSilo.StoreOptions.MaxPinnedShare * arena.Capacity)
            throw new BrokenRuleException($"S{silo.Node} has pinned {counts.PinnedBytes} of {arena.Capacity} bytes");
        if (counts.CopiedBytes > ModelSilo.StoreOptions.MaxCopiedShare * arena.Capacity)
            throw new BrokenRuleException($"S{silo.Node} has {counts.CopiedBytes} bytes of copies in {arena.Capacity} bytes");
    }

    private void CheckIndex(ModelSilo silo)
    {
        for (var block = 0; block < TestBlocks.Count; block++)
        {
            var key = TestBlocks.Keys[block];
            var unexplained = silo.Directory.Index.HoldersOf(key) & ~SelfBit & ~RedisBit;
            foreach (var peer in silo.Members.Peers)
            {
                var other = world.Find(peer.Address);
                var says = (unexplained & peer.Bit) != 0;
                IsTrue(says == (other.IsAlive && other.Store.Contains(key)),
                    $"S{silo.Node} believes that S{other.Node} {(says ? "has" : "does not have")} K{block}");
                unexplained &= ~peer.Bit;
            }

            IsTrue(unexplained == 0, $"S{silo.Node} believes that silos have K{block} which are not members");
        }
    }

    private static void CheckMemory(ModelSilo silo)
    {
        var visible = TestBlocks.Keys.Count(silo.Store.Contains);
        var used = silo.Store.Arena.UsedBytes / Arena.PageBytes;
        IsTrue(used == visible, $"S{silo.Node} shows {visible} blocks and keeps the memory of {used}");
    }

    /// <summary>Formats nothing while the rules hold.</summary>
    [InterpolatedStringHandler]
    internal ref struct Reason
    {
        private DefaultInterpolatedStringHandler _inner;

        public Reason(int literalLength, int formattedCount, bool condition, out bool broken)
        {
            broken = !condition;
            _inner = broken ? new DefaultInterpolatedStringHandler(literalLength, formattedCount) : default;
        }

        public string Text => _inner.ToString();

        public void AppendLiteral(string value) => _inner.AppendLiteral(value);

        public void AppendFormatted<T>(T value) => _inner.AppendFormatted(value);
    }
}
