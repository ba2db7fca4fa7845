using System.CommandLine;
using KvCache.Chat.Serving;
using KvCache.Chat.Terminal;
using LLama.Exceptions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Spectre.Console;

namespace KvCache.Chat.Commands;

/// <summary>The command line: a chat in the terminal, the same over HTTP, a slot file of llama-server, and models to try it with.</summary>
internal static class ChatCommand
{
    public static RootCommand Create()
    {
        var system = new Option<string?>("--system") { Description = "The system message", Recursive = true };
        var temperature = new Option<float>("--temperature")
        {
            Description = "0 takes the most likely token (default)",
            Recursive = true,
        };
        var root = new RootCommand(
            "Chats with a model of llama.cpp whose KV is in a cache: any process with the same model goes on where another one was. Prints "
            + "after each answer when its first token came and how many tokens of the prompt were cached.")
        {
            system, temperature, CreateServe(), SlotCommand.Create(), ModelCommand.Create(),
        };
        foreach (var option in ChatSettings.All)
            root.Options.Add(option);
        root.SetAction((arguments, cancellation) => RunAsync(
            arguments,
            (engine, token) => new TerminalChat(AnsiConsole.Console, engine, arguments.GetValue(system), arguments.GetValue(temperature))
                .RunAsync(Console.In, token),
            cancellation));
        return root;
    }

    /// <summary>Opens the engine that the command line describes, and says in a sentence what does not work.</summary>
    public static async Task<int> RunAsync(
        ParseResult arguments, Func<ChatEngine, CancellationToken, Task> use, CancellationToken cancellation)
    {
        using var loggers = LoggerFactory.Create(builder => builder.SetMinimumLevel(LogLevel.Warning).AddSimpleConsole().AddConsole(
            console => console.LogToStandardErrorThreshold = LogLevel.Trace));
        try
        {
            await using var engine = await ChatSettings.OpenAsync(arguments, loggers, cancellation);
            await use(engine, cancellation);
            return 0;
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException or SiloException
            or LoadWeightsFailedException or ContextOverflowException or OptionsValidationException)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return 1;
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            return 130;
        }
    }

    private static Command CreateServe()
    {
        var url = new Option<string>("--url")
        {
            DefaultValueFactory = _ => "http://127.0.0.1:8080",
            Description = "Address; port 0 takes a free one",
        };
        var serve = new Command("serve", "Answers OpenAI's clients: POST /v1/chat/completions, GET /v1/models.") { url };
        serve.SetAction((arguments, cancellation) => RunAsync(
            arguments, (engine, token) => ChatServer.RunAsync(engine, arguments.GetRequiredValue(url), token), cancellation));
        return serve;
    }
}
