using KvCache.LLamaSharp;
using LLama;
using LLama.Common;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging;

namespace KvCache.Chat.Commands;

/// <summary>A model, its executor and its cache, which end together.</summary>
internal sealed class ChatEngine : IAsyncDisposable
{
    private const uint MostTokens = 8192;

    private readonly LLamaWeights _weights;
    private readonly IKvCache _cache;

    private ChatEngine(LLamaWeights weights, IKvCache cache, LLamaPrefixExecutor executor, LLamaChatOptions chat)
    {
        (_weights, _cache, Executor) = (weights, cache, executor);
        Client = executor.AsChatClient(chat);
    }

    public LLamaPrefixExecutor Executor { get; }

    public IChatClient Client { get; }

    /// <param name="parameters">Of model and context; the size of the context is set here.</param>
    /// <param name="tokens">Tokens of one conversation; null for the model's own number, up to a bound.</param>
    /// <param name="cache">The cache, disposed with the engine.</param>
    /// <param name="options">How prefixes are cached.</param>
    /// <param name="chat">How messages become prompts.</param>
    /// <param name="loggers">Where to log.</param>
    public static ChatEngine Load(
        ModelParams parameters, uint? tokens, IKvCache cache, LLamaPrefixExecutorOptions options, LLamaChatOptions chat,
        ILoggerFactory loggers)
    {
        var weights = LLamaWeights.LoadFromFile(parameters);
        try
        {
            var each = tokens ?? Math.Min(MostTokens, (uint)weights.ContextSize);
            parameters = parameters with { ContextSize = each * (uint)options.Conversations };
            return new ChatEngine(weights, cache, LLamaPrefixExecutor.Create(weights, parameters, cache, options, loggers), chat);
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        using (var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10)))
        {
            try
            {
                await Executor.FlushAsync(limit.Token); // what was computed last is for the next process
            }
            catch (OperationCanceledException)
            {
                // A silo that takes so long does not get it.
            }
        }

        Client.Dispose();
        await Executor.DisposeAsync();
        _weights.Dispose();
        await _cache.DisposeAsync();
    }
}
