using CsCheck;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.Testing;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.ModelTests;

public sealed class TextKvCacheTests : IAsyncDisposable
{
    private const string Prompt = "You are a helpful assistant.";

    private readonly LocalKvCache _local = new(ByteSize.MiB(64));
    private int _texts;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _local.DisposeAsync();

    [Theory]
    [InlineData(torch.ScalarType.Float32)]
    [InlineData(torch.ScalarType.Float16)]
    [InlineData(torch.ScalarType.BFloat16)]
    public Task Tensors_come_back_in_their_shape_type_and_bytes(torch.ScalarType type) =>
        Gen.Select(Gen.Long[1, 5].Array[0, 5], Gen.Long[1, 5].Array[0, 5]).SampleAsync(async (shapeK, shapeV) =>
        {
            var cache = Create();
            using torch.Tensor k = Random(shapeK, type), v = Random(shapeV, type);
            var text = $"text {_texts++}";
            Assert.True(await cache.CacheKvAsync(text, 0, k, v, null, Token));
            await CheckAsync(cache, text, 0, k, v);
        }, iter: 50, threads: 1);

    [Fact]
    public async Task Bytes_come_back_and_other_types_are_errors()
    {
        var cache = Create();
        using torch.Tensor bytes = torch.arange(0, 200).to(torch.ScalarType.Byte), integers = torch.arange(0, 5);
        Assert.True(await cache.CacheKvAsync(Prompt, 0, bytes, bytes, null, Token));
        await CheckAsync(cache, Prompt, 0, bytes, bytes);
        var error = await Assert.ThrowsAsync<ArgumentException>(
            async () => await cache.CacheKvAsync(Prompt, 1, integers, integers, null, Token));
        Assert.Contains("Int64", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_view_is_stored_as_what_it_shows()
    {
        var cache = Create();
        using torch.Tensor whole = Random([4, 6]), turned = whole.transpose(0, 1), part = whole[1];
        Assert.True(await cache.CacheKvAsync(Prompt, 0, turned, part, null, Token));
        await CheckAsync(cache, Prompt, 0, turned, part);
    }

    [Fact]
    public async Task Halved_and_compressed_tensors_come_back_close()
    {
        var cache = Create(new TensorEncoding(ElementEncoding.Float16, TensorCompression.Zstd));
        using torch.Tensor k = Random([2, 64, 32]), v = torch.zeros(2, 64, 32);
        Assert.True(await cache.CacheKvAsync(Prompt, 0, k, v, null, Token));
        using var found = await cache.GetCachedKvAsync(Prompt, 0, Token);
        var (foundK, foundV) = (found!.K, found.V);
        Assert.Equal(torch.ScalarType.Float32, foundK.dtype);
        Assert.True(torch.allclose(k, foundK, rtol: 1e-3, atol: 1e-6));
        Assert.True(foundV.bytes.SequenceEqual(v.bytes));
        Assert.InRange((await _local.GetStatisticsAsync(Token)).MemoryBytes, 1, k.bytes.Length + 8192);
    }

    [Fact]
    public async Task What_is_absent_is_null()
    {
        var cache = Create();
        Assert.Null(await cache.GetCachedKvAsync(Prompt, 0, Token));
        using var k = Random([2, 3]);
        await cache.CacheKvAsync(Prompt, 0, k, k, null, Token);
        Assert.Null(await cache.GetCachedKvAsync(Prompt, 1, Token));
        Assert.Null(await cache.GetCachedKvAsync(Prompt + " ", 0, Token));
        Assert.Null(await new TextKvCache(_local, "default", "another model").GetCachedKvAsync(Prompt, 0, Token));
        Assert.Null(await new TextKvCache(_local, "another tenant", "model").GetCachedKvAsync(Prompt, 0, Token));
    }

    [Fact]
    public async Task Layers_are_separate()
    {
        var cache = Create();
        using var scope = torch.NewDisposeScope();
        var layers = Enumerable.Range(0, 4).Select(layer => (K: Random([layer + 1, 8]), V: Random([8, layer + 1]))).ToArray();
        for (var layer = 0; layer < layers.Length; layer++)
            Assert.True(await cache.CacheKvAsync(Prompt, layer, layers[layer].K, layers[layer].V, null, Token));
        for (var layer = 0; layer < layers.Length; layer++)
            await CheckAsync(cache, Prompt, layer, layers[layer].K, layers[layer].V);
    }

    [Fact]
    public async Task The_first_of_two_writes_stays()
    {
        var cache = Create();
        using torch.Tensor first = Random([3, 4]), second = Random([3, 4]);
        Assert.True(await cache.CacheKvAsync(Prompt, 0, first, first, null, Token));
        Assert.True(await cache.CacheKvAsync(Prompt, 0, second, second, null, Token));
        await CheckAsync(cache, Prompt, 0, first, first);
    }

    [Fact]
    public async Task Large_tensors_come_back()
    {
        var cache = Create();
        using torch.Tensor k = Random([8, 1024, 128]), v = Random([8, 1024, 256]); // 4 and 8 MiB
        Assert.True(await cache.CacheKvAsync(Prompt, 0, k, v, null, Token));
        await CheckAsync(cache, Prompt, 0, k, v);
    }

    [Fact]
    public async Task Tensors_that_do_not_fit_are_not_stored()
    {
        await using var small = new LocalKvCache(new ByteSize(8192));
        var cache = new TextKvCache(small, "default", "model");
        using var k = Random([4096]);
        Assert.False(await cache.CacheKvAsync(Prompt, 0, k, k, null, Token));
        Assert.Null(await cache.GetCachedKvAsync(Prompt, 0, Token));
    }

    [Theory]
    [InlineData(100, 120)]
    [InlineData(100, 5000)]
    [InlineData(5000, 100)]
    public async Task A_write_is_found_although_half_of_an_older_one_is_left(int olderLength, int newerLength)
    {
        foreach (var evictSizes in new[] { true, false })
        {
            await using var half = new HalfEvicted(evictSizes);
            var cache = new TextKvCache(half, "default", "model");
            using torch.Tensor older = Random([olderLength]), newer = Random([newerLength]);
            Assert.True(await cache.CacheKvAsync(Prompt, 0, older, older, null, Token));
            await half.EvictAsync();
            Assert.True(await cache.CacheKvAsync(Prompt, 0, newer, newer, null, Token));
            using var found = await cache.GetCachedKvAsync(Prompt, 0, Token);
            Assert.NotNull(found);
        }
    }

    private static async Task CheckAsync(TextKvCache cache, string text, int layer, torch.Tensor k, torch.Tensor v)
    {
        using var found = await cache.GetCachedKvAsync(text, layer, Token);
        Assert.NotNull(found);
        var (foundK, foundV) = (found.K, found.V);
        CheckEqual(k, foundK);
        CheckEqual(v, foundV);
    }

    private static void CheckEqual(torch.Tensor expected, torch.Tensor actual)
    {
        using var contiguous = expected.contiguous();
        Assert.Equal(expected.shape, actual.shape);
        Assert.Equal(expected.dtype, actual.dtype);
        Assert.True(contiguous.bytes.SequenceEqual(actual.bytes));
    }

    private static torch.Tensor Random(long[] shape, torch.ScalarType type = torch.ScalarType.Float32)
    {
        using var random = torch.randn(shape);
        return random.to(type, copy: true);
    }

    private TextKvCache Create(TensorEncoding encoding = default) => new(_local, "default", "model", encoding);

    /// <summary>A cache that can lose the smaller or the larger ones of the blocks that were stored last.</summary>
    private sealed class HalfEvicted(bool smaller) : OtherKvCache(new LocalKvCache(ByteSize.MiB(1)))
    {
        private readonly List<KvPrefix> _stored = [];

        public async Task EvictAsync()
        {
            foreach (var prefix in _stored.Where(prefix => smaller == prefix.Namespace.Layout.BlockBytes < 1024))
                Assert.Equal(1, (await DeleteAsync(prefix, Token)).Deleted);
        }

        public override ValueTask<StoreResult> StoreAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
            CancellationToken cancellationToken = default)
        {
            _stored.Add(prefix);
            return base.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken);
        }
    }
}
