using System.CommandLine;
using KvCache.Chat.Gguf;
using KvCache.Client;
using KvCache.LLamaSharp;
using LLama.Common;
using LLama.Native;
using Microsoft.Extensions.Logging;

namespace KvCache.Chat.Commands;

/// <summary>The options that all commands over a model share.</summary>
internal static class ChatSettings
{
    /// <summary>Environment variable of the tenant's secret. Command lines are visible to every user of a machine.</summary>
    public const string SecretVariable = "KVCACHE_SECRET";

    private const int DemoBlockTokens = 16;

    private static readonly Option<FileInfo?> Model =
        new("--model") { Description = "A GGUF (default: the small model of samples/QuickStart)", Recursive = true };
    private static readonly Option<string[]> Cache = new("--cache")
    {
        Description = "Data-plane address of a silo, tcp:host:port or unix:/path; several in order of preference (default: a cache in this "
            + "process)",
        Recursive = true,
    };
    private static readonly Option<string> Tenant = new("--tenant")
    {
        DefaultValueFactory = _ => "default",
        Description = "Tenant of the cache; its secret is read from the environment variable " + SecretVariable,
        Recursive = true,
    };
    private static readonly Option<int?> BlockTokens =
        new("--block-tokens") { Description = "Tokens of a cache block (default: 256, or 16 with the small model)", Recursive = true };
    private static readonly Option<uint?> Context =
        new("--context") { Description = "Tokens of one conversation (default: the model's context, 8,192 at most)", Recursive = true };
    private static readonly Option<int> Conversations =
        new("--conversations") { DefaultValueFactory = _ => 1, Description = "Answers at the same time", Recursive = true };
    private static readonly Option<string> KvType =
        new("--kv-type") { DefaultValueFactory = _ => "f16", Description = "Element type of the KV", Recursive = true };
    private static readonly Option<int?> Threads =
        new("--threads") { Description = "Threads that compute (default: half of the cores)", Recursive = true };
    private static readonly Option<string> Assistant = new("--assistant")
    {
        Description = "Name of the assistant where the model has no template of its own (default: Assistant, or that of the small model)",
        DefaultValueFactory = _ => "",
        Recursive = true,
    };

    static ChatSettings() => KvType.AcceptOnlyFromAmong("f16", "f32", "q8_0");

    public static IEnumerable<Option> All => [Model, Cache, Tenant, BlockTokens, Context, Conversations, KvType, Threads, Assistant];

    /// <summary>Loads the model and opens the cache.</summary>
    public static async Task<ChatEngine> OpenAsync(ParseResult arguments, ILoggerFactory loggers, CancellationToken cancellationToken)
    {
        var given = arguments.GetValue(Model)?.FullName;
        var type = Enum.Parse<GGMLType>("GGML_TYPE_" + arguments.GetRequiredValue(KvType).ToUpperInvariant());
        var conversations = arguments.GetValue(Conversations);
        var parameters = new ModelParams(given ?? DemoModel.Path())
        {
            TypeK = type,
            TypeV = type,
            FlashAttention = type == GGMLType.GGML_TYPE_Q8_0 ? true : null,
            Threads = arguments.GetValue(Threads),
            BatchThreads = arguments.GetValue(Threads),
        };
        var options = new LLamaPrefixExecutorOptions
        {
            Conversations = conversations,
            Prefixes = new LLamaPrefixCacheOptions
            {
                Tenant = arguments.GetRequiredValue(Tenant),
                BlockTokens = arguments.GetValue(BlockTokens) ?? (given is null ? DemoBlockTokens : 256),
            },
        };
        var assistant = arguments.GetRequiredValue(Assistant);
        var chat = new LLamaChatOptions { AssistantName = assistant.Length > 0 ? assistant : given is null ? "Pilot" : "Assistant" };
        var cache = await OpenCacheAsync(arguments, loggers, cancellationToken);
        try
        {
            return ChatEngine.Load(parameters, arguments.GetValue(Context), cache, options, chat, loggers);
        }
        catch
        {
            await cache.DisposeAsync();
            throw;
        }
    }

    private static async Task<IKvCache> OpenCacheAsync(ParseResult arguments, ILoggerFactory loggers, CancellationToken cancellationToken)
    {
        if (arguments.GetValue(Cache) is not { Length: > 0 } endpoints)
            return new LocalKvCache(new ByteSize(256 << 20));
        var options = new KvCacheClientOptions
        {
            Tenant = arguments.GetRequiredValue(Tenant),
            Secret = Environment.GetEnvironmentVariable(SecretVariable) ?? "",
            MatchTimeout = TimeSpan.FromSeconds(1), // a prefill takes longer
        };
        foreach (var endpoint in endpoints)
            options.Endpoints.Add(endpoint);
        var client = new KvCacheClient(options, loggers);
        if (!await client.ConnectAsync(cancellationToken))
            await Console.Error.WriteLineAsync(
                $"No silo answers at {string.Join(", ", endpoints)}; prompts are computed in full until one does.");
        return client;
    }
}
