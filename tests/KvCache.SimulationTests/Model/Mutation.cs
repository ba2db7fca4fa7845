using KvCache.Engine.Index;
using KvCache.Engine.Storage;

namespace KvCache.SimulationTests.Model;

/// <summary>A step that a silo of the model leaves out or does wrong, to show that the rules notice.</summary>
internal enum Mutation
{
    /// <summary>Everything is done as in production.</summary>
    None,

    /// <summary>A deleted generation may become visible.</summary>
    PublishesTheDead,

    /// <summary>The others are not told of blocks that go.</summary>
    HidesRemovals,

    /// <summary>A deletion removes nothing on the silos that are asked.</summary>
    IgnoresDeletes,

    /// <summary>The number of a full copy is read behind its last block.</summary>
    NumbersCopiesLate,

    /// <summary>A copy lives as if it had been stored now.</summary>
    RenewsLives,

    /// <summary>A life that is set counts for what a silo has, and not for what is on its way there.</summary>
    ForgetsLives,

    /// <summary>A silo that left keeps its blocks in the index.</summary>
    RemembersTheDead,

    /// <summary>A write that arrived damaged is published.</summary>
    AcceptsDamage,

    /// <summary>The store says that no write runs.</summary>
    ForgetsWriters,

    /// <summary>A silo that is asked to delete takes the given stamp, although it has given later generations.</summary>
    StampsByWallClock,
}

/// <summary>Observers that do a mutation.</summary>
internal static class Mutations
{
    public static IBlockObserver Observe(this Mutation mutation, BlockDirectory directory) =>
        mutation is Mutation.PublishesTheDead or Mutation.HidesRemovals ? new Mutant(mutation, directory) : directory;

    private sealed class Mutant(Mutation mutation, BlockDirectory directory) : IBlockObserver
    {
        public bool MayPublish(BlockKey key, ulong generation) =>
            mutation == Mutation.PublishesTheDead || directory.MayPublish(key, generation);

        public bool IsElsewhere(BlockKey key) => directory.IsElsewhere(key);

        public void Published(BlockKey key, ulong generation, bool replaces) => directory.Published(key, generation, replaces);

        public void Removed(BlockKey key, ulong generation)
        {
            if (mutation == Mutation.HidesRemovals)
                directory.Index.Remove(key, BlockDirectory.Self);
            else
                directory.Removed(key, generation);
        }

        public void Settled(BlockKey key) => directory.Settled(key);
    }
}
