using System.Text.Json;
using KvCache.Processes;
using KvCache.Redis;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.ModelTests;

/// <summary>Python and .NET read each other's blocks and texts over one plain Redis, and what Python does not decode is a miss
/// there.</summary>
public sealed class PythonExchangeTests : IAsyncDisposable
{
    private const int Blocks = 3;

    // Of both sides: element i is (i + seed) % 61 quarters, which 16 bits hold exactly.
    private const string Script = """
        import json, struct, sys
        from kvcache import DataType, Namespace, RedisCache, RedisOptions, StructuredLayout, Tensor, TextCache, prefix_chain
        layout = StructuredLayout(tokens_per_block=4, layers=2, kv_heads=3, head_dim=64, data_type=DataType.FLOAT32)
        hashes = prefix_chain(range(12), 4)
        def values(count, seed): return struct.pack(f"<{count}f", *((i + seed) % 61 / 4 for i in range(count)))
        count = layout.layer_ends[-1] // 4
        blocks = [values(count, seed) for seed in range(3)]
        told = {}
        for narrowed in ("", "float16", "bfloat16"):
            for compression in ("", "gzip"):
                with RedisCache(sys.argv[1], options=RedisOptions(narrowed=narrowed, compression=compression)) as cache:
                    for space in sys.argv[2:] if not compression else []:
                        targets = [bytearray(len(blocks[0])) for _ in blocks]
                        hits = cache.get(Namespace(f"net {space}", layout), hashes, targets)
                        if any(hits):
                            told[f"{space}/{narrowed or 'raw'}"] = hits == [True] * 3 and targets == blocks
                    name = f"python {narrowed or 'raw'} {compression or 'none'}"
                    told[name] = all(outcome.is_stored for outcome in cache.put(Namespace(name, layout), hashes, blocks))
        with RedisCache(sys.argv[1]) as cache:
            texts = TextCache(cache, "texts", tensors="bytes")
            for text in sys.argv[2:]:
                found = texts.get_cached_kv(f"net {text}", 1)
                told[f"text {text}"] = found is not None and found.k.shape == (64, 64) and (bytes(found.k.data), bytes(found.v.data)) == (
                    values(4096, 0), values(4096, 1))
            tensors = [Tensor(DataType.FLOAT32, (64, 64), values(4096, seed)) for seed in (0, 1)]
            told["text stored"] = texts.cache_kv("python", 1, *tensors)
        print(json.dumps(told))
        """;

    private static readonly KvLayout Layout = KvLayout.Create(2, 3, 64, KvDataType.Float32, tokensPerBlock: 4);

    private readonly RedisProcess _redis = RedisProcess.Start();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync()
    {
        _redis.Dispose();
        return default;
    }

    [Fact]
    public async Task Blocks_and_texts_are_read_on_both_sides_and_what_is_not_decoded_stays()
    {
        var encodings = (
            from elements in new[] { ElementEncoding.Raw, ElementEncoding.Float16, ElementEncoding.BFloat16 }
            from compression in Enum.GetValues<TensorCompression>()
            where elements != ElementEncoding.Raw || compression != TensorCompression.FloatPlanes // it is for 16 bits
            select new TensorEncoding(elements, compression)).ToArray();
        foreach (var encoding in encodings)
        {
            await using var cache = Create(encoding);
            Assert.Equal(Blocks, (await cache.StoreAsync(Prefix($"net {NameOf(encoding)}"), 0, Stored, null, Token)).Stored);
            await using var plain = Create(default);
            using torch.Tensor k = Tensor(0), v = Tensor(1);
            var texts = new TextKvCache(plain, "default", "texts", encoding);
            Assert.True(await texts.CacheKvAsync($"net {NameOf(encoding)}", 1, k, v, null, Token));
        }

        var told = await RunAsync(encodings.Select(NameOf));

        foreach (var encoding in encodings)
        {
            var isDecoded = encoding.Compression is TensorCompression.None or TensorCompression.GZip;
            var (name, elements) = (NameOf(encoding), encoding.Elements.ToString().ToLowerInvariant());
            Assert.Equal(isDecoded, told.Remove($"{name}/{elements}", out var isRight));
            Assert.Equal(isDecoded, isRight);
            Assert.True(told.Remove($"text {name}", out var isRead));
            Assert.Equal(isDecoded, isRead);
            await using var cache = Create(encoding);
            await AssertLoadsAsync(cache, Prefix($"net {name}")); // also behind a reader that could not
        }

        foreach (var elements in new[] { ElementEncoding.Raw, ElementEncoding.Float16, ElementEncoding.BFloat16 })
        {
            await using var cache = Create(new TensorEncoding(elements));
            foreach (var compression in new[] { "none", "gzip" })
            {
                var name = $"python {elements.ToString().ToLowerInvariant()} {compression}";
                Assert.True(told.Remove(name, out var isStored) && isStored, name);
                await AssertLoadsAsync(cache, Prefix(name));
            }
        }

        Assert.True(told.Remove("text stored", out var isTextStored) && isTextStored);
        await using var redis = Create(default);
        using var found = await new TextKvCache(redis, "default", "texts").GetCachedKvAsync("python", 1, Token);
        using torch.Tensor rightK = Tensor(0), rightV = Tensor(1);
        Assert.True(found is not null && found.K.equal(rightK).all().item<bool>() && found.V.equal(rightV).all().item<bool>());
        Assert.Empty(told);
    }

    private static ReadOnlyMemory<byte>[] Stored => [.. Enumerable.Range(0, Blocks).Select(
        seed => (ReadOnlyMemory<byte>)Values(Layout.BlockBytes / sizeof(float), seed).SelectMany(BitConverter.GetBytes).ToArray())];

    private static IEnumerable<float> Values(int count, int seed) => Enumerable.Range(0, count).Select(i => (i + seed) % 61 / 4f);

    private static torch.Tensor Tensor(int seed) => torch.tensor(Values(4096, seed).ToArray()).reshape(64, 64);

    private static string NameOf(TensorEncoding encoding) => $"{encoding.Elements}-{encoding.Compression}";

    private static KvPrefix Prefix(string model) => KvPrefix.Of(
        new CacheNamespace { Tenant = "default", Model = model, Layout = Layout }, [.. Enumerable.Range(0, 4 * Blocks)]);

    private static async Task AssertLoadsAsync(RedisKvCache cache, KvPrefix prefix)
    {
        Memory<byte>[] memory = [.. Enumerable.Range(0, Blocks).Select(_ => (Memory<byte>)new byte[Layout.BlockBytes])];
        Assert.Equal(new LoadResult(Blocks, MissReason.None), await cache.LoadAsync(prefix, 0, memory, cancellationToken: Token));
        foreach (var (right, loaded) in Stored.Zip(memory))
            Assert.True(right.Span.SequenceEqual(loaded.Span), prefix.Namespace.Model);
    }

    private RedisKvCache Create(TensorEncoding encoding) =>
        new(new RedisKvCacheOptions { Configuration = _redis.Tcp, Encoding = encoding });

    private async Task<Dictionary<string, bool>> RunAsync(IEnumerable<string> names)
    {
        // Debian's packages belong to Debian's Python, which need not be the first one on the path.
        string? python = null;
        foreach (var candidate in new[] { "/usr/bin/python3", "python3" })
            python ??= await HasModulesAsync(candidate) ? candidate : null;
        Assert.SkipWhen(python is null, "python3 with redis and numpy is not installed (Debian: python3-redis, python3-numpy).");
        var result = await ProgramResult.RunAsync(
            ProgramCommand.Of(
                python, ["-B", "-c", Script, $"redis://{_redis.Tcp}/0", .. names],
                ("PYTHONPATH", Path.Combine(Repository.Root, "python"))),
            Eventually.Bound);
        Assert.True(result.ExitCode == 0, result.Errors);
        return JsonSerializer.Deserialize<Dictionary<string, bool>>(result.Output)!;
    }

    private static async Task<bool> HasModulesAsync(string python) => ProgramCommand.Find(Path.GetFileName(python)) is not null
        && (await ProgramResult.RunAsync(ProgramCommand.Of(python, ["-c", "import redis, numpy"]), Eventually.Bound)).ExitCode == 0;
}
