using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.Json;
using KvCache.Client;
using KvCache.InferenceNode.Caching;
using KvCache.InferenceNode.Models;
using KvCache.TorchSharp;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Spectre.Console;

namespace KvCache.InferenceNode;

/// <summary>The command that continues prompts, with a cache or without, and says how long it took.</summary>
internal static class GenerateCommand
{
    private static readonly Option<string> Model =
        new("--model")
        {
            Required = true,
            Description = "Hugging Face directory, llama2.c file, or random:NAME (" + string.Join(", ", RandomModels.Names) + ")"
        };
    private static readonly Option<KvDataType> DataType =
        new("--dtype") { DefaultValueFactory = _ => KvDataType.Float32, Description = "Element type of weights and KV" };
    private static readonly Option<string?> Prompt = new("--prompt") { Description = "The text to continue" };
    private static readonly Option<FileInfo?> PromptFile = new("--prompt-file") { Description = "A file with the text to continue" };
    private static readonly Option<FileInfo?> Prompts =
        new("--prompts") { Description = "A file with several texts to continue, one after the other: a JSON array of strings" };
    private static readonly Option<int> MaxTokens =
        new("--max-tokens") { DefaultValueFactory = _ => 128, Description = "Most tokens to generate" };
    private static readonly Option<float> Temperature = new("--temperature") { Description = "0 takes the most likely token (default)" };
    private static readonly Option<float> TopP =
        new("--top-p") { DefaultValueFactory = _ => 1, Description = "Keep the most likely tokens that together reach this probability" };
    private static readonly Option<int> Seed = new("--seed") { Description = "Start of the random numbers (sampling, random weights)" };
    private static readonly Option<string[]> Cache =
        new("--cache")
        {
            Description =
        "Data-plane address of a silo, tcp:host:port or unix:/path; several in order of preference (default: no cache)"
        };
    private static readonly Option<string> Tenant =
        new("--tenant")
        {
            DefaultValueFactory = _ => "default",
            Description = "Tenant of the cache; its secret is read from the environment variable " + NodeCache.SecretVariable
        };
    private static readonly Option<int> BlockTokens =
        new("--block-tokens") { DefaultValueFactory = _ => 16, Description = "Tokens of a cache block; large models want 256" };
    private static readonly Option<int> Replicas =
        new("--replicas") { DefaultValueFactory = _ => 1, Description = "Silos of a cluster that are to keep what is stored" };
    private static readonly Option<ByteSize?> L1 =
        new("--l1")
        {
            CustomParser = ParseSize,
            Description = "Size of a cache in this process, in front of the silos or on its own, for example 64MiB"
        };
    private static readonly Option<bool> Json =
        new("--json") { Description = "Write one JSON object a prompt to the standard output, and nothing else" };
    private static readonly Option<bool> Statistics =
        new("--statistics") { Description = "End with the statistics of the cache and its silo: one more JSON object" };
    private static readonly Option<bool> ZeroLoaded =
        new("--zero-loaded")
        {
            Description =
        "Overwrite everything that the cache returns with zeros. The text must change: a control that shows that loaded KV is used. "
        + "Nothing is stored"
        };

    public static Command Create()
    {
        var command =
            new Command("generate",
            "Continues prompts. The beginning of the first prompt is computed once before anything is timed, so that the times are not "
            + "those of the compiler.")
        {
            Model, DataType, Prompt, PromptFile, Prompts, MaxTokens, Temperature, TopP, Seed,
            Cache, Tenant, BlockTokens, Replicas, L1, Json, Statistics, ZeroLoaded,
        };
        command.Validators.Add(result =>
        {
            if (new Option[] { Prompt, PromptFile, Prompts }.Count(option => result.GetResult(option) is not null) != 1)
                result.AddError("Expected one of --prompt, --prompt-file and --prompts.");
        });
        MaxTokens.Validators.Add(AtLeastOne);
        BlockTokens.Validators.Add(AtLeastOne);
        Replicas.Validators.Add(AtLeastOne);
        Cache.Validators.Add(result =>
        {
            foreach (var token in result.Tokens)
            {
                if (new KvCacheClientOptions { Endpoints = { token.Value } }.Validate().Count > 0)
                    result.AddError($"'{token.Value}' is not the address of a silo; expected tcp:host:port or unix:/path.");
            }
        });
        DataType.AcceptOnlyFromAmong("float32", "bfloat16", "float16");
        command.SetAction(RunAsync);
        return command;
    }

    private static async Task<int> RunAsync(ParseResult arguments, CancellationToken cancellationToken)
    {
        try
        {
            var options = Options(arguments);
            var prompts = await ReadPromptsAsync(arguments, cancellationToken);
            using var loaded =
                ModelLoader.Load(
                arguments.GetValue(Model)!, new ModelLoadOptions { DataType = arguments.GetValue(DataType), Seed = options.Sampling.Seed });
            TorchThreads.Fit(loaded.Model.Config);
            using var loggers =
                LoggerFactory.Create(logging => logging.AddConsole(console => console.LogToStandardErrorThreshold = LogLevel.Trace));
            await using var cache = await new NodeCache(loggers)
                .OpenAsync(arguments.GetValue(Cache) ?? [], options.Tenant, arguments.GetValue(L1), cancellationToken);
            await GenerateAsync(arguments, cache, loaded, prompts, options, cancellationToken);
            return 0;
        }
        catch (Exception e)
            when (e is ModelFormatException or ArgumentException or IOException or JsonException or SiloException
            or OptionsValidationException)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return 1;
        }
    }

    private static async Task GenerateAsync(
        ParseResult arguments, IKvCache cache, LoadedModel loaded, IReadOnlyList<string> prompts, GenerationOptions options,
            CancellationToken cancellationToken)
    {
        await WarmUp.RunAsync(cache, loaded, prompts[0], options, cancellationToken);
        var blockBytes = loaded.Model.CreateLayout(options.TokensPerBlock).BlockBytes;
        foreach (var prompt in prompts)
        {
            var isJson = arguments.GetValue(Json);
            GenerationResult? whole = null;
            var pieces = cache.GenerateWithCacheAsync(
                loaded.Model, loaded.Tokenizer, prompt, options: options, cancellationToken: cancellationToken);
            await foreach (var piece in pieces)
            {
                if (!isJson)
                    Console.Write(piece.Text);
                whole ??= piece.Result;
            }

            var result = PromptResult.Of(whole!, blockBytes);
            if (isJson)
            {
                Console.WriteLine(NodeOutput.Write(result));
                continue;
            }

            Console.WriteLine();
            var cached = $"{result.HitTokens} of them from the cache";
            AnsiConsole.MarkupLineInterpolated(
                $"[grey]{result.PromptTokens} prompt tokens, {cached}; first token after {result.TtftMs:F1} ms[/]");
        }

        if (arguments.GetValue(Statistics))
            Console.WriteLine(NodeOutput.Write(await cache.GetStatisticsAsync(cancellationToken)));
    }

    private static GenerationOptions Options(ParseResult arguments)
    {
        var sampling =
            new SamplingOptions
            {
                Temperature = arguments.GetValue(Temperature),
                TopP = arguments.GetValue(TopP),
                Seed = arguments.GetValue(Seed)
            };
        sampling.Validate();
        return new GenerationOptions
        {
            Tenant = arguments.GetValue(Tenant)!,
            TokensPerBlock = arguments.GetValue(BlockTokens),
            MaxTokens = arguments.GetValue(MaxTokens),
            Replicas = arguments.GetValue(Replicas),
            Sampling = sampling,
            OnLoaded = arguments.GetValue(ZeroLoaded) ? static block => block.zero_().Dispose() : null,
        };
    }

    private static async Task<IReadOnlyList<string>> ReadPromptsAsync(ParseResult arguments, CancellationToken cancellationToken)
    {
        if (arguments.GetValue(Prompt) is { } text)
            return [text];
        return arguments.GetValue(PromptFile) is { } file
            ? [await File.ReadAllTextAsync(file.FullName, cancellationToken)]
            : await PromptList.ReadAsync(arguments.GetValue(Prompts)!.FullName, cancellationToken);
    }

    private static ByteSize? ParseSize(ArgumentResult result)
    {
        try
        {
            return ByteSize.Parse(result.Tokens[0].Value);
        }
        catch (FormatException e)
        {
            result.AddError(e.Message);
            return null;
        }
    }

    private static void AtLeastOne(OptionResult result)
    {
        if (result.GetValueOrDefault<int>() < 1)
            result.AddError($"{result.Option.Name} is at least 1.");
    }
}
