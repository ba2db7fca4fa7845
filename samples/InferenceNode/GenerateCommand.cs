using System.CommandLine;
using System.Diagnostics;
using Spectre.Console;

namespace KvCache.InferenceNode;

/// <summary>The command that continues a prompt and says how long it took.</summary>
internal static class GenerateCommand
{
    private static readonly Option<string> Model = new("--model") { Required = true, Description = "Hugging Face directory, llama2.c file, or random:NAME (" + string.Join(", ", RandomModels.Names) + ")" };
    private static readonly Option<KvDataType> DataType = new("--dtype") { DefaultValueFactory = _ => KvDataType.Float32, Description = "Element type of weights and KV" };
    private static readonly Option<string?> Prompt = new("--prompt") { Description = "The text to continue" };
    private static readonly Option<FileInfo?> PromptFile = new("--prompt-file") { Description = "A file with the text to continue" };
    private static readonly Option<int> MaxTokens = new("--max-tokens") { DefaultValueFactory = _ => 128, Description = "Most tokens to generate" };
    private static readonly Option<float> Temperature = new("--temperature") { Description = "0 takes the most likely token (default)" };
    private static readonly Option<float> TopP = new("--top-p") { DefaultValueFactory = _ => 1, Description = "Keep the most likely tokens that together reach this probability" };
    private static readonly Option<int> Seed = new("--seed") { Description = "Start of the random numbers (sampling, random weights)" };

    public static Command Create()
    {
        var command = new Command("generate", "Continues a prompt.") { Model, DataType, Prompt, PromptFile, MaxTokens, Temperature, TopP, Seed };
        command.Validators.Add(result =>
        {
            if (result.GetResult(Prompt) is null == result.GetResult(PromptFile) is null)
                result.AddError("Expected either --prompt or --prompt-file.");
        });
        MaxTokens.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < 1)
                result.AddError("--max-tokens is at least 1.");
        });
        DataType.AcceptOnlyFromAmong("float32", "bfloat16", "float16");
        command.SetAction(Run);
        return command;
    }

    private static int Run(ParseResult arguments)
    {
        try
        {
            var sampling = new SamplingOptions { Temperature = arguments.GetValue(Temperature), TopP = arguments.GetValue(TopP), Seed = arguments.GetValue(Seed) };
            var sampler = new TokenSampler(sampling);
            using var loaded = ModelLoader.Load(arguments.GetValue(Model)!, new ModelLoadOptions { DataType = arguments.GetValue(DataType), Seed = sampling.Seed });
            TorchThreads.Fit(loaded.Model.Config);
            var prompt = arguments.GetValue(Prompt) ?? File.ReadAllText(arguments.GetValue(PromptFile)!.FullName);
            Generate(loaded, prompt, sampler, arguments.GetValue(MaxTokens));
            return 0;
        }
        catch (Exception e) when (e is ModelFormatException or ArgumentException or IOException)
        {
            Console.Error.WriteLine(e.Message);
            return 1;
        }
    }

    private static void Generate(LoadedModel loaded, string prompt, TokenSampler sampler, int maxTokens)
    {
        var tokens = loaded.Tokenizer.Encode(prompt);
        using var session = loaded.Model.CreateSession();
        var clock = Stopwatch.StartNew();
        var logits = session.Forward(tokens);
        var generated = new List<int> { sampler.Next(logits) };
        var first = clock.Elapsed;
        while (generated.Count < maxTokens && generated[^1] != loaded.Tokenizer.EndOfSequence && session.Length < loaded.Model.MaxContext)
        {
            logits.Dispose();
            logits = session.Forward([generated[^1]]);
            generated.Add(sampler.Next(logits));
        }

        logits.Dispose();
        var rest = clock.Elapsed - first;
        Console.WriteLine(loaded.Tokenizer.Decode([.. generated]));
        var speed = generated.Count > 1 ? $"{(generated.Count - 1) / rest.TotalSeconds:F1} tokens/s after it" : "one token only";
        AnsiConsole.MarkupLineInterpolated($"[grey]{tokens.Length} prompt tokens, first token after {first.TotalMilliseconds:F1} ms, {speed}[/]");
    }
}
