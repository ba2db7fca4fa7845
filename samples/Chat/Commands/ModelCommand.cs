using System.CommandLine;
using System.Globalization;
using KvCache.Chat.Gguf;

namespace KvCache.Chat.Commands;

/// <summary>Writes models to try it with.</summary>
internal static class ModelCommand
{
    public static Command Create()
    {
        var command = new Command("model", "Writes a GGUF.");
        command.Subcommands.Add(CreateConverted());
        command.Subcommands.Add(CreateRandom());
        return command;
    }

    private static Command CreateConverted()
    {
        var output = new Argument<FileInfo>("out") { Description = "The file to write" };
        var from = new Option<DirectoryInfo?>("--from")
        {
            Description = "Directory in Hugging Face's form, Llama architecture, a token for each ASCII character (default: the small "
                + "model of samples/QuickStart)",
        };
        var command = new Command("harbor", "The small model of samples/QuickStart.") { output, from };
        command.SetAction(arguments =>
        {
            var path = arguments.GetRequiredValue(output).FullName;
            HuggingFaceModel.Write(arguments.GetValue(from)?.FullName ?? Path.Combine(AppContext.BaseDirectory, "harbor"), path);
            Say(path, null);
        });
        return command;
    }

    private static Command CreateRandom()
    {
        var standard = new LlamaShape();
        var output = new Argument<FileInfo>("out") { Description = "The file to write" };
        Option<int> Size(string name, string description, int value) =>
            new(name) { Description = description, DefaultValueFactory = _ => value };
        var (layers, dim) = (Size("--layers", "Layers", standard.Layers), Size("--dim", "Size of an embedding", standard.Dim));
        var hidden = Size("--hidden", "Size of the feed-forward layer", standard.Hidden);
        var (heads, kvHeads) = (Size("--heads", "Heads", standard.Heads), Size("--kv-heads", "Heads of K and V", standard.KvHeads));
        var vocabulary = Size("--vocabulary", "Tokens, of which the first 128 are the ASCII characters", standard.Vocabulary);
        var context = Size("--positions", "Most tokens of a prompt", standard.Context);
        var window = Size("--window", "Tokens of a sliding window, as Gemma 3 has them; 0 for none", standard.Window);
        var seed = Size("--seed", "Start of the random numbers", 1);
        var command = new Command("random", "Random weights of any size and context: for times, not for text.")
        {
            output, layers, dim, hidden, heads, kvHeads, vocabulary, context, window, seed,
        };
        command.SetAction(arguments =>
        {
            var shape = new LlamaShape
            {
                Layers = arguments.GetValue(layers),
                Dim = arguments.GetValue(dim),
                Hidden = arguments.GetValue(hidden),
                Heads = arguments.GetValue(heads),
                KvHeads = arguments.GetValue(kvHeads),
                HeadDim = arguments.GetValue(dim) / arguments.GetValue(heads),
                Vocabulary = arguments.GetValue(vocabulary),
                Context = arguments.GetValue(context),
                Window = arguments.GetValue(window),
            };
            var path = arguments.GetRequiredValue(output).FullName;
            Say(path, RandomModel.Write(path, shape, arguments.GetValue(seed)));
        });
        return command;
    }

    private static void Say(string path, long? parameters) => Console.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{path}: {new FileInfo(path).Length / 1e6:0.0} MB{(parameters is { } count ? $", {count / 1e6:0.0} M parameters" : "")}"));
}
