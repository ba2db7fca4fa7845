using System.Runtime.CompilerServices;
using LLama.Common;
using LLama.Sampling;
using Microsoft.Extensions.AI;

namespace KvCache.LLamaSharp.Chat;

/// <summary>The executor as a chat client. Usage has the cached tokens; the raw representation of the last update is the <see
/// cref="LLamaAnswerUsage"/>.</summary>
internal sealed class LLamaChatClient(LLamaPrefixExecutor executor, LLamaChatOptions options) : IChatClient
{
    private readonly ChatPrompt _prompt = new(executor.Context, options);
    private readonly ChatClientMetadata _metadata = new("llama.cpp", null, executor.Prefixes.Namespace.Model);

    public async Task<ChatResponse> GetResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null, CancellationToken cancellationToken = default)
    {
        LLamaAnswerUsage? usage = null;
        var updates = new List<ChatResponseUpdate>();
        await foreach (var update in GetStreamingResponseAsync(messages, options, cancellationToken).ConfigureAwait(false))
        {
            updates.Add(update);
            usage = update.RawRepresentation as LLamaAnswerUsage ?? usage;
        }

        var response = updates.ToChatResponse();
        response.RawRepresentation = usage;
        return response;
    }

    public async IAsyncEnumerable<ChatResponseUpdate> GetStreamingResponseAsync(
        IEnumerable<ChatMessage> messages, ChatOptions? options = null,
        [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var given = options?.RawRepresentationFactory?.Invoke(this) as InferenceParams;
        using var pipeline = given is null ? PipelineOf(options) : null; // one that was given is the caller's
        var parameters = ParametersOf(options, given ?? new InferenceParams { SamplingPipeline = pipeline! });
        var stops = new StopFilter(parameters.AntiPrompts);
        var id = Guid.NewGuid().ToString("N");
        LLamaAnswerUsage? usage = null;
        await foreach (var piece in executor.AnswerAsync(_prompt.Of(messages, options?.Instructions), parameters, cancellationToken)
            .ConfigureAwait(false))
        {
            usage = piece.Usage;
            if (stops.Add(piece.Text) is { Length: > 0 } text)
                yield return Update(new TextContent(text));
        }

        if (stops.End() is { Length: > 0 } rest)
            yield return Update(new TextContent(rest));
        var last = Update(new UsageContent(Details(usage!)));
        last.FinishReason = usage!.End == LLamaAnswerEnd.Stop ? ChatFinishReason.Stop : ChatFinishReason.Length;
        last.RawRepresentation = usage;
        yield return last;

        ChatResponseUpdate Update(AIContent content) => new(ChatRole.Assistant, [content])
        {
            MessageId = id,
            ResponseId = id,
            ModelId = _metadata.DefaultModelId,
            CreatedAt = DateTimeOffset.UtcNow,
        };
    }

    public object? GetService(Type serviceType, object? serviceKey = null) =>
        serviceKey is not null ? null
        : serviceType == typeof(ChatClientMetadata) ? _metadata
        : serviceType.IsInstanceOfType(executor) ? executor
        : serviceType.IsInstanceOfType(this) ? this
        : null;

    /// <summary>Leaves the executor alone: it is the caller's.</summary>
    public void Dispose()
    {
    }

    private static UsageDetails Details(LLamaAnswerUsage usage) => new()
    {
        InputTokenCount = usage.PromptTokens,
        CachedInputTokenCount = usage.CachedTokens,
        OutputTokenCount = usage.AnswerTokens,
        TotalTokenCount = usage.PromptTokens + usage.AnswerTokens,
    };

    private InferenceParams ParametersOf(ChatOptions? chat, InferenceParams parameters) => parameters with
    {
        AntiPrompts = [.. _prompt.Stops, .. chat?.StopSequences ?? [], .. parameters.AntiPrompts],
        MaxTokens = chat?.MaxOutputTokens ?? (parameters.MaxTokens > 0 ? parameters.MaxTokens : options.MaxOutputTokens),
    };

    private static ISamplingPipeline PipelineOf(ChatOptions? chat)
    {
        if (chat?.Temperature is <= 0)
            return new GreedySamplingPipeline();
        var standard = new DefaultSamplingPipeline();
        return new DefaultSamplingPipeline
        {
            Temperature = chat?.Temperature ?? standard.Temperature,
            TopP = chat?.TopP ?? standard.TopP,
            TopK = chat?.TopK ?? standard.TopK,
            FrequencyPenalty = chat?.FrequencyPenalty ?? standard.FrequencyPenalty,
            PresencePenalty = chat?.PresencePenalty ?? standard.PresencePenalty,
            Seed = chat?.Seed is { } seed ? (uint)seed : standard.Seed,
        };
    }
}
