using KvCache.Client;
using KvCache.InferenceNode;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.ModelTests;

public sealed class GenerationTests : IDisposable
{
    private const int TokensPerBlock = 16;

    private readonly LoadedModel _harbor = TestModels.Harbor();
    private readonly RecordingCache _cache = new(new LocalKvCache(ByteSize.MiB(64)));

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static GenerationOptions Short => new() { TokensPerBlock = TokensPerBlock, MaxTokens = 24 };

    public void Dispose()
    {
        _harbor.Dispose();
        _cache.Local.Dispose();
    }

    [Fact]
    public async Task A_text_comes_piece_by_piece_and_then_the_result()
    {
        var pieces = await Generate(HarborModel.Prompt).ToListAsync(Token);
        Assert.All(pieces[..^1], piece => Assert.Null(piece.Result));
        var result = pieces[^1].Result!;
        Assert.Equal(24, result.Tokens.Count);
        Assert.Equal(25, pieces.Count); // the model's tokens are characters
        Assert.Equal(HarborModel.Answer[..24], result.Text);
        Assert.Equal(result.Text, string.Concat(pieces.Select(piece => piece.Text)));
    }

    [Fact]
    public async Task Pieces_are_the_text_also_where_tokens_are_parts_of_characters()
    {
        using var random = TestModels.Load("random:tiny", new ModelLoadOptions { DataType = KvDataType.Float32, Seed = 3 });
        for (var seed = 0; seed < 5; seed++)
        {
            var options = Short with { MaxTokens = 60, Sampling = new SamplingOptions { Temperature = 100, Seed = seed } };
            var pieces = await _cache.GenerateWithCacheAsync(random.Model, random.Tokenizer, "abc", options: options).ToListAsync(Token);
            Assert.Equal(pieces[^1].Result!.Text, string.Concat(pieces.Select(piece => piece.Text)));
            Assert.All(pieces[..^1], piece => Assert.NotEqual("", piece.Text));
        }
    }

    [Fact]
    public async Task Only_the_prefix_is_stored_where_one_is_named()
    {
        var split = HarborModel.Prompt.IndexOf("User:", StringComparison.Ordinal);
        var (prefix, prompt) = (HarborModel.Prompt[..split], HarborModel.Prompt[split..]);
        var blocks = _harbor.Tokenizer.Encode(prefix).Length / TokensPerBlock;

        var first = await Generate(prompt, prefix).ToResultAsync(Token);
        Assert.Equal((0, blocks), (first.HitTokens, first.StoredBlocks));
        Assert.Equal(HarborModel.Answer[..24], first.Text);
        var second = await Generate("User: Where does Osprey come from?\nPilot: ", prefix).ToResultAsync(Token);
        Assert.Equal((blocks * TokensPerBlock, 0), (second.HitTokens, second.StoredBlocks));
        var whole = await Generate(HarborModel.Prompt).ToResultAsync(Token);
        Assert.Equal((blocks * TokensPerBlock, 341 / TokensPerBlock - blocks), (whole.HitTokens, whole.StoredBlocks));
        Assert.Equal(first.Tokens, whole.Tokens);
    }

    [Fact]
    public async Task What_is_stored_has_the_life_durability_and_copies_that_were_asked_for()
    {
        var options = Short with { TimeToLive = TimeSpan.FromMinutes(3), Durability = Durability.Persisted, Replicas = 2 };
        await Generate(HarborModel.Prompt, options: options).ToResultAsync(Token);
        Assert.Equal(
            new StoreOptions(TimeSpan.FromMinutes(3), SuffixTokens: 341, Durability: Durability.Persisted, Replicas: 2), _cache.Options);
    }

    [Theory]
    [InlineData("adapter", "")]
    [InlineData("", "salt")]
    public async Task Adapters_and_salts_share_nothing(string adapter, string salt)
    {
        await Generate(HarborModel.Prompt).ToResultAsync(Token);
        var options = Short with { LoraAdapter = adapter, Salt = salt };
        Assert.Equal(0, (await Generate(HarborModel.Prompt, options: options).ToResultAsync(Token)).HitTokens);
        Assert.Equal(336, (await Generate(HarborModel.Prompt, options: options).ToResultAsync(Token)).HitTokens);
    }

    [Fact]
    public async Task A_reader_that_leaves_early_leaves_the_prompt_stored_and_no_tensor_behind()
    {
        var before = torch.Tensor.TotalCount;
        await foreach (var piece in Generate(HarborModel.Prompt))
        {
            Assert.Equal("L", piece.Text);
            break;
        }

        Assert.Equal(before, torch.Tensor.TotalCount);
        Assert.Equal(336, (await Generate(HarborModel.Prompt).ToResultAsync(Token)).HitTokens);
    }

    [Fact]
    public void Wrong_arguments_are_told_before_anything_is_asked_for()
    {
        Assert.Throws<ArgumentException>(() => { _ = Generate(""); });
        Assert.Throws<ArgumentException>(() => { _ = Generate(new string('a', 10_000)); });
        Assert.Throws<ArgumentNullException>(() => { _ = Generate(null!); });
        foreach (var options in new[]
        {
            Short with { TokensPerBlock = 0 }, Short with { MaxTokens = -1 }, Short with { TimeToLive = TimeSpan.Zero },
            Short with { Replicas = 17 }, Short with { Durability = (Durability)7 }, Short with { Sampling = null! },
            Short with { Sampling = new SamplingOptions { TopP = 2 } }, Short with { Salt = null! }, Short with { Tenant = "" },
            Short with { LoraAdapter = new string('a', 300) },
        })
        {
            Assert.ThrowsAny<ArgumentException>(() => { _ = Generate(HarborModel.Prompt, options: options); });
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_cache_that_ends_meanwhile_costs_only_time(bool isStored)
    {
        if (isStored)
            await Generate(HarborModel.Prompt).ToResultAsync(Token);
        using var ending = new EndingCache(_cache.Local);
        var result = await ending.GenerateWithCacheAsync(_harbor.Model, _harbor.Tokenizer, HarborModel.Prompt, options: Short)
            .ToResultAsync(Token);
        Assert.Equal((HarborModel.Answer[..24], 0, 0), (result.Text, result.HitTokens, result.StoredBlocks));
    }

    [Fact]
    public async Task Null_is_told_everywhere()
    {
        using var ring = new StagingRing(_harbor.Model.CreateLayout(TokensPerBlock), torch.CPU, blocks: 1);
        using var tensor = torch.zeros(4);
        var sampler = new TokenSampler(SamplingOptions.Greedy);
        var prefix = KvPrefix.Of(CachedGeneration.NamespaceOf(_harbor.Model, Short), new int[TokensPerBlock]);
        await using var layers = _cache.LoadLayerTensors(prefix, 0, 1, cancellationToken: Token);
        var texts = new TextKvCache(_cache, "default", "model");
        Assert.Empty(await NullArguments.FindAsync(
            typeof(CachedGeneration).Assembly, _cache, _harbor.Model, _harbor.Tokenizer, ring, tensor, sampler, layers, texts,
            torch.CPU));
    }

    [Fact]
    public async Task Loaded_tensors_belong_to_the_result_unless_they_are_released()
    {
        await Generate(HarborModel.Prompt).ToResultAsync(Token);
        var prefix = KvPrefix.Of(CachedGeneration.NamespaceOf(_harbor.Model, Short), _harbor.Tokenizer.Encode(HarborModel.Prompt));
        var before = torch.Tensor.TotalCount;
        LoadedTensors loaded;
        using (torch.NewDisposeScope())
            loaded = await _cache.LoadTensorsAsync(prefix, 0, 3, cancellationToken: Token);
        Assert.Equal((3, MissReason.None, null), (loaded.Blocks.Count, loaded.Reason, loaded.Error));
        Assert.Equal(before + 3, torch.Tensor.TotalCount);
        loaded.Dispose();
        loaded.Dispose();
        Assert.Equal(before, torch.Tensor.TotalCount);

        IReadOnlyList<torch.Tensor> blocks;
        using (var others = await _cache.LoadTensorsAsync(prefix, 0, 2, cancellationToken: Token))
            blocks = others.Release();
        Assert.Equal(before + 2, torch.Tensor.TotalCount);
        foreach (var block in blocks)
            block.Dispose();
    }

    private IAsyncEnumerable<GenerationPiece> Generate(string prompt, string? prefix = null, GenerationOptions? options = null) =>
        _cache.GenerateWithCacheAsync(_harbor.Model, _harbor.Tokenizer, prompt, prefix, options ?? Short);

    // Ends behind the first match.
    private sealed class EndingCache(IKvCache cache) : OtherKvCache(cache)
    {
        public override ValueTask<LoadResult> LoadAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<Memory<byte>> destinations, LayerRange? layers = null, CacheMatch? match = null,
            CancellationToken cancellationToken = default) => throw new ObjectDisposedException("the cache");

        public override ValueTask<StoreResult> StoreAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
            CancellationToken cancellationToken = default) => throw new ObjectDisposedException("the cache");
    }

    private sealed class RecordingCache(LocalKvCache local) : OtherKvCache(local)
    {
        public LocalKvCache Local => local;

        public StoreOptions? Options { get; private set; }

        public override ValueTask<StoreResult> StoreAsync(
            KvPrefix prefix, int firstBlock, IReadOnlyList<ReadOnlyMemory<byte>> blocks, StoreOptions? options = null,
            CancellationToken cancellationToken = default)
        {
            Options = options;
            return base.StoreAsync(prefix, firstBlock, blocks, options, cancellationToken);
        }
    }
}
