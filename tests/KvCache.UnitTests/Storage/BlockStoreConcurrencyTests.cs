using KvCache.Engine.Storage;
using KvCache.UnitTests.Index;
using KvCache.UnitTests.Storage;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class BlockStoreConcurrencyTests
{
    [Fact]
    public void Readers_see_whole_blocks_while_writers_evict_them()
    {
        const int Keys = 40, Rounds = 4000;
        using var store = new BlockStore(Memory.Arena(pages: 64));
        Parallel.For(0, 4, worker =>
        {
            var random = new Random(worker);
            for (var round = 0; round < Rounds; round++)
            {
                var key = StoreFixture.Key(random.Next(Keys));
                using (var write = store.TryReserve(key, StoreFixture.Layout(1 + random.Next(4)), default))
                {
                    write?.Bytes.Fill((byte)(write.Generation >> 12));
                    if (write is not null)
                        store.Publish(key, write.Generation);
                }

                using var lease = store.TryLease(StoreFixture.Key(random.Next(Keys)));
                if (lease is not null)
                    Assert.Equal(-1, lease.Bytes.IndexOfAnyExcept((byte)(lease.Generation >> 12)));
                if (round % 50 == 0)
                    store.Remove(key);
            }
        });

        store.Clear();
        Assert.Equal((0L, 0, 0), (store.Arena.UsedBytes, store.GetStatistics().LeasedBlocks, store.GetStatistics().Writing));
    }
}
