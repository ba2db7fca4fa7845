using KvCache.Engine.Index;
using KvCache.Testing;
using KvCache.UnitTests.Index;
using Xunit;

namespace KvCache.UnitTests;

public sealed class PrefixIndexConcurrencyTests
{
    [Fact]
    public async Task Readers_see_each_key_as_some_writer_left_it()
    {
        // Every key has a holder of its own, so that a torn or mistaken entry shows as a wrong mask. Every third key stays for
        // good and must never be missed, however often its neighbours move it. Colliding keys keep one table in constant motion.
        BlockKey[] keys = [.. Enumerable.Range(0, 100).Select(Keys.Key), .. Keys.Colliding(200)];
        var index = new PrefixIndex();
        for (var i = 0; i < keys.Length; i += 3)
            index.Add(keys[i], i % 64);

        using var done = new CancellationTokenSource();
        var readers = Enumerable.Range(0, 2).Select(seed => Task.Run(() => Read(index, keys, new Random(seed), done.Token))).ToArray();
        var writers = Enumerable.Range(0, 2).Select(seed => Task.Run(() => Write(index, keys, new Random(seed + 10)))).ToArray();
        await Task.WhenAll(writers);
        await done.CancelAsync();
        Assert.All(await Task.WhenAll(readers), reads => Assert.True(reads > 0));
    }

    private static void Write(PrefixIndex index, BlockKey[] keys, Random random)
    {
        for (var n = 0; n < Depth.Of(25_000); n++)
        {
            var i = random.Next(keys.Length);
            if (i % 3 == 0)
                continue;
            if (random.Next(2) == 0)
                index.Add(keys[i], i % 64);
            else
                index.Remove(keys[i], i % 64);
        }
    }

    private static long Read(PrefixIndex index, BlockKey[] keys, Random random, CancellationToken done)
    {
        long reads = 0;
        var holders = new ulong[2];
        do
        {
            var i = random.Next(keys.Length);
            var mask = index.HoldersOf(keys[i]);
            Assert.True(mask == 1UL << (i % 64) || (mask == 0 && i % 3 != 0), $"Key {i} has the holders {mask:X}.");

            var stays = i - (i % 3);
            Assert.InRange(index.Match(Keys.Namespace, [keys[stays].Hash, keys[(stays + 1) % keys.Length].Hash], holders), 1, 2);
            Assert.Equal(1UL << (stays % 64), holders[0]);
            reads++;
        }
        while (!done.IsCancellationRequested);

        return reads;
    }
}
