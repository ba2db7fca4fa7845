using KvCache.Grains;
using KvCache.Silo.Cluster;
using KvCache.SimulationTests.Worlds;
using Orleans.Runtime;

namespace KvCache.SimulationTests.Model;

/// <summary>What a silo asks of others, as messages; what <see cref="SiloAgent"/> does is done when they arrive.</summary>
internal sealed class ModelAgents(World world, ModelSilo asking) : ISiloAgents
{
    public ISiloAgent Of(SiloAddress silo) => new Agent(world, asking, world.Find(silo));

    private sealed class Agent(World world, ModelSilo asking, ModelSilo asked) : ISiloAgent
    {
        public ValueTask<SiloCard> DescribeAsync() => throw new NotSupportedException();

        public ValueTask<bool> ContainsAsync(BlockKey key) => Ask("contains?", key, () => asked.Store.Contains(key));

        public ValueTask<WriteState> StateOfWriteAsync(BlockKey key, ulong generation) => Ask(
            "what became of the write?",
            key,
            () => world.Mutation == Mutation.ForgetsWriters ? WriteState.Gone : SiloAgent.StateOf(asked.Store, key, generation),
            () => world.Grains.LostTouch(key));

        public async ValueTask RevokeAsync(BlockKey key, ulong generation) => await Ask(
            "revoke",
            key,
            () =>
            {
                asked.Store.Revoke(key, generation);
                return true;
            },
            () => world.Grains.LostTouch(key));

        public ValueTask<DeletionReport> DeleteAsync(BlockKey[] keys, ulong stamp) => Ask("delete", keys[0], () =>
        {
            var mine = world.Mutation == Mutation.StampsByWallClock ? stamp : asked.Store.StampFrom(stamp);
            return SiloAgent.ReportOf(Array.ConvertAll(keys, key => world.DeleteAt(asked, key, mine)), mine);
        });

        public ValueTask<bool> BuryAsync(BlockKey[] keys, ulong stamp) => Ask("bury", keys[0], () =>
        {
            foreach (var key in keys)
                world.BuryAt(asked, key, stamp);
            return true;
        });

        public ValueTask<bool> PinAsync(BlockKey key, TimeSpan duration) => Ask("pin", key, () => asked.Store.Pin(key, duration));

        public ValueTask<bool?[]> SetTimeToLiveAsync(BlockKey[] keys, TimeSpan timeToLive, ulong stamp) => new(world.Network.Ask(
            "set life", TestBlocks.NumberOf(keys[0]), asking.Node, asked.Node, () => world.SetLifeAt(asked, keys, timeToLive, stamp),
            repeatable: true));

        public ValueTask<bool> HintAsync(BlockKey last, SiloHint hint) => Ask(
            "hint", last, () => asked.Store.Tell(last.Namespace, [last.Hash], hint.ToHint(), hint.Ends));

        public ValueTask<byte[]> ExchangeTenantsAsync(byte[] book) => throw new NotSupportedException();

        public ValueTask<long> BytesOfTenantAsync(string tenant) => throw new NotSupportedException();

        public ValueTask<long> LeavingAsync(SiloAddress silo) => throw new NotSupportedException();

        public ValueTask<int> CopyAsync(BlockKey[] keys, SiloAddress from) => throw new NotSupportedException();

        private ValueTask<T> Ask<T>(string text, BlockKey key, Func<T> answer, Action? lost = null) =>
            new(world.Network.Ask(
                text, TestBlocks.NumberOf(key), asking.Node, asked.Node, () => Task.FromResult(answer()), repeatable: true, lost));
    }
}
