using KvCache.Chat.Commands;
using KvCache.LLamaSharp;
using Microsoft.Extensions.AI;
using Spectre.Console;

namespace KvCache.Chat.Terminal;

/// <summary>A chat, line by line.</summary>
internal sealed class TerminalChat(IAnsiConsole console, ChatEngine engine, string? system, float temperature)
{
    public async Task RunAsync(TextReader input, CancellationToken cancellationToken)
    {
        var messages = new List<ChatMessage>();
        if (system is not null)
            messages.Add(new ChatMessage(ChatRole.System, system));
        console.MarkupLineInterpolated($"[grey]{engine.Executor.Prefixes.Namespace}. An empty line ends.[/]");
        while (true)
        {
            console.Markup("[green]>[/] ");
            if (await input.ReadLineAsync(cancellationToken) is not { Length: > 0 } line)
                return;
            messages.Add(new ChatMessage(ChatRole.User, line));
            var answer = "";
            var options = new ChatOptions { Temperature = temperature };
            await foreach (var update in engine.Client.GetStreamingResponseAsync(messages, options, cancellationToken))
            {
                console.Write(new Text(update.Text));
                answer += update.Text;
                if (update.RawRepresentation is LLamaAnswerUsage usage)
                    console.MarkupLineInterpolated($"\n[grey]{UsageLine.Of(usage)}[/]");
            }

            messages.Add(new ChatMessage(ChatRole.Assistant, answer));
        }
    }
}
