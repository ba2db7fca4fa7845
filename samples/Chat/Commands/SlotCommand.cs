using System.CommandLine;
using System.Globalization;

namespace KvCache.Chat.Commands;

/// <summary>Writes cached blocks as a file that llama-server restores into a slot.</summary>
internal static class SlotCommand
{
    public static Command Create()
    {
        var prompt = new Option<FileInfo>("--prompt-file") { Required = true, Description = "The prompt, as it was computed" };
        var output = new Option<FileInfo>("--out") { Required = true, Description = "The file to write" };
        var command = new Command(
            "slot",
            "Writes what the cache has of a prompt to a slot file of llama-server (POST /slots/N?action=restore). Its llama.cpp must be "
            + "that of this program, with the same model and settings of its context.")
        {
            prompt, output,
        };
        command.SetAction((arguments, cancellation) => ChatCommand.RunAsync(
            arguments,
            (engine, token) => WriteAsync(
                engine, File.ReadAllText(arguments.GetRequiredValue(prompt).FullName), arguments.GetRequiredValue(output).FullName, token),
            cancellation));
        return command;
    }

    private static async Task WriteAsync(ChatEngine engine, string prompt, string path, CancellationToken cancellationToken)
    {
        var tokens = engine.Executor.Tokenize(prompt);
        var restored = await engine.Executor.Prefixes.RestoreAsync(tokens, sequence: 0, cancellationToken: cancellationToken);
        if (restored.Tokens == 0)
            throw new IOException($"The cache has nothing of this prompt ({restored.Reason}); nothing is written.");
        var bytes = await engine.Executor.Prefixes.WriteSlotFileAsync(path, tokens.AsMemory(0, restored.Tokens), 0, cancellationToken);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{path}: {restored.Tokens} of {tokens.Length} tokens, {bytes} bytes"));
    }
}
