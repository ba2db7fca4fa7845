using KvCache.Bench.Silos;
using KvCache.Client;
using KvCache.Orleans;
using KvCache.TorchSharp;
using TorchSharp;

namespace KvCache.Bench.FirstToken;

/// <summary>A client of the silo over one transport, and the ways in which it brings the prefix into the session.</summary>
internal sealed class TtftCache : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly TtftPrompt _prompt;
    private readonly KvCacheClient _client;

    /// <param name="silo">The silo.</param>
    /// <param name="transport"><c>tcp</c>, <c>unix</c>, or <c>shm</c> for the arena mapped into this process.</param>
    /// <param name="prompt">The prompt.</param>
    public TtftCache(BenchSilo silo, string transport, TtftPrompt prompt)
    {
        Transport = transport;
        _prompt = prompt;
        _client = silo.Client(transport, Patience);
    }

    /// <summary>Suffix of the rows.</summary>
    public string Transport { get; }

    /// <summary>Stores the prefix as the model computed it.</summary>
    public void Store()
    {
        var stored = Wait(_client.StoreAsync(_prompt.Prefix, 0, _prompt.Known));
        if (stored.Stored + stored.AlreadyStored != _prompt.Prefix.BlockCount)
            throw new InvalidOperationException($"The silo took {stored.Stored} of {_prompt.Prefix.BlockCount} blocks: {stored.Reason}.");
    }

    /// <summary>Looks the prefix up, and computes each layer when its KV has come.</summary>
    /// <returns>Logits of the last token.</returns>
    public torch.Tensor ComputeByLayers() => ComputeByLayersAsync().GetAwaiter().GetResult();

    /// <summary>Looks the prefix up, loads it block by block and imports it. In shared memory the session copies straight out of the
    /// arena.</summary>
    public void LoadWhole()
    {
        Match();
        if (Transport == "shm")
        {
            using var mapped = Wait(_client.MapAsync(_prompt.Prefix, 0, _prompt.Prefix.BlockCount));
            Demand(mapped.Count, mapped.Reason);
            using var scope = torch.NewDisposeScope();
            _prompt.Import([.. mapped.Select(block => block.AsTensor())]);
            return;
        }

        var result = Wait(_client.LoadAsync(_prompt.Prefix, 0, _prompt.Targets));
        Demand(result.Blocks, result.Reason);
        _prompt.Import(_prompt.Targets);
    }

    public void Dispose() => _client.DisposeAsync().AsTask().GetAwaiter().GetResult();

    private async Task<torch.Tensor> ComputeByLayersAsync()
    {
        Match();
        _prompt.Session.Truncate(0);
        await using var layers = await _client.LoadLayerTensorsAsync(_prompt.Prefix, 0, _prompt.Prefix.BlockCount, _prompt.Staging);

        // Waits instead of going on elsewhere: libtorch has a team of threads for each thread that computes, and a second team would cost
        // more than the wait.
        return await _prompt.Session.ForwardAsync(
            _prompt.NewTokens, _prompt.Prefix.Chain.TokenCount, (layer, destination) => new(Wait(layers.CopyToAsync(layer, destination))))
            ?? throw new InvalidOperationException($"{Transport}: a layer did not come from the silo.");
    }

    private void Match()
    {
        var match = Wait(_client.MatchAsync(_prompt.Prefix));
        Demand(match.Blocks, match.Reason);
    }

    private void Demand(int blocks, MissReason reason)
    {
        if (blocks != _prompt.Prefix.BlockCount)
            throw new InvalidOperationException(
                $"{Transport}: {blocks} of {_prompt.Prefix.BlockCount} blocks came from the silo: {reason}.");
    }

    private static T Wait<T>(ValueTask<T> call) => call.AsTask().GetAwaiter().GetResult();
}
