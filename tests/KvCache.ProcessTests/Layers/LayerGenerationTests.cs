using KvCache.Engine.Storage;
using KvCache.InferenceNode;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>A model that computes while layers of its prompt's KV arrive from a silo.</summary>
public sealed class LayerGenerationTests
{
    [Fact]
    public async Task The_text_is_that_of_the_model_also_when_the_connection_is_cut_in_the_middle_of_the_load()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseUnix: false, Arena: "128MiB"));
        using var relay = new Relay(silo.Tcp);
        await using var direct = silo.Connect();
        await using var client = silo.Connect(relay.Endpoint);
        using var tiny = ModelLoader.Load("random:tiny", new ModelLoadOptions { DataType = KvDataType.Float32, Seed = 5 });
        TorchThreads.Fit(tiny.Model.Config);
        var prompt = string.Concat(Enumerable.Range(0, 400).Select(i => (char)('a' + (i * 7 % 26)))) + "!";
        var options = new GenerationOptions { TokensPerBlock = 16, MaxTokens = 24 };
        var none = await direct.GenerateWithCacheAsync(tiny.Model, tiny.Tokenizer, prompt, options: options).ToResultAsync();
        Assert.Equal(0, none.HitTokens);
        Assert.True(none.StoredBlocks >= 24);

        var whole = await client.GenerateWithCacheAsync(tiny.Model, tiny.Tokenizer, prompt, options: options).ToResultAsync();
        Assert.Equal(none.Tokens, whole.Tokens);
        Assert.Equal(400, whole.HitTokens);
        Report.Line($"Waited {whole.LoadTime.TotalMilliseconds:0.0} ms for the cache; {whole.HiddenLoadTime.TotalMilliseconds:0.0} ms of "
            + "the load were behind compute.");

        // Two layers of four come, and the connection is cut while the model waits for the third.
        var layout = tiny.Model.CreateLayout(16);
        relay.Limit(fromSilo: (long)(2.5 * 25 * layout.LayerBytes(0)));
        var generating = client.GenerateWithCacheAsync(tiny.Model, tiny.Tokenizer, prompt, options: options).ToResultAsync();
        await Eventually.TrueAsync("the relay keeps something back", () => relay.KeepsBack);
        relay.Cut();
        relay.Open(); // for connections that come now
        var cut = await generating;
        Assert.Equal(none.Tokens, cut.Tokens);
        Assert.Equal(0, cut.HitTokens);

        var again = await client.GenerateWithCacheAsync(tiny.Model, tiny.Tokenizer, prompt, options: options).ToResultAsync();
        Assert.Equal(none.Tokens, again.Tokens);
        Assert.Equal(400, again.HitTokens);
        silo.AssertHealthy();
    }
}
