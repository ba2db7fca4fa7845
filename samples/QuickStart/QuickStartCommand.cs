using System.CommandLine;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text.Json;
using Spectre.Console;

namespace KvCache.QuickStart;

/// <summary>The whole system on one machine: a silo and inference nodes, each a process, started and stopped by this program.</summary>
internal static class QuickStartCommand
{
    private const string Tenant = "quickstart";
    private const int MaxTokens = 48;
    private static readonly TimeSpan SiloStart = TimeSpan.FromSeconds(45);

    private static readonly Option<string?> Model = new("--model") { Description = "Hugging Face directory or llama2.c file (default: the small model of this sample)" };
    private static readonly Option<FileInfo?> Prompts = new("--prompts") { Description = "JSON array of strings. The first prompt fills the cache, then another process continues all of them" };
    private static readonly Option<int> BlockTokens = new("--block-tokens") { DefaultValueFactory = _ => 16, Description = "Tokens of a cache block; large models want 256" };
    private static readonly Option<string> Transport = new("--transport") { DefaultValueFactory = _ => "tcp", Description = "How nodes reach the silo" };
    private static readonly Option<bool> Keep = new("--keep") { Description = "Leave the silo running until Ctrl+C, and print how to reach it" };

    public static RootCommand Create()
    {
        var root = new RootCommand("Starts a silo and inference nodes, and shows what the cache saves and that it changes no token. The exit code is 1 if a token differs, nothing is found in the cache, or zeroed KV does not change the text.")
        {
            Model, Prompts, BlockTokens, Transport, Keep,
        };
        BlockTokens.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < 1)
                result.AddError("--block-tokens is at least 1.");
        });
        Transport.AcceptOnlyFromAmong("tcp", "unix");
        root.SetAction(RunAsync);
        return root;
    }

    private static async Task<int> RunAsync(ParseResult arguments, CancellationToken cancellationToken)
    {
        if (Console.IsOutputRedirected)
            AnsiConsole.Profile.Width = 140; // no terminal says how wide it is, and a table in a log should not be broken
        var folder = Directory.CreateTempSubdirectory("kvcache-").FullName;
        try
        {
            return await RunAsync(arguments, folder, cancellationToken);
        }
        catch (Exception e) when (e is ChildProcessException or IOException or JsonException)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return 1;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await Console.Error.WriteLineAsync("Stopped.");
            return 130;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<int> RunAsync(ParseResult arguments, string folder, CancellationToken cancellationToken)
    {
        var began = Stopwatch.GetTimestamp();
        var model = arguments.GetValue(Model);
        var prompts = arguments.GetValue(Prompts) is { } file ? await DemoPrompts.ReadAsync(file.FullName, cancellationToken)
            : model is null ? DemoPrompts.ForHarbor
            : DemoPrompts.ForAnyModel;
        var secret = Convert.ToHexString(RandomNumberGenerator.GetBytes(16));

        Say("Silo: starting");
        await using var silo = SiloProcess.Start(new SiloProcessOptions { Folder = folder, Tenants = new Dictionary<string, string> { [Tenant] = secret } });
        var ready = await silo.WaitReadyAsync(SiloStart, cancellationToken);
        var endpoint = ready.Endpoints.First(address => address.StartsWith(arguments.GetValue(Transport)!, StringComparison.Ordinal));
        Say($"Silo: process {ready.ProcessId} serves at {endpoint}");

        var node = new InferenceProcess
        {
            Model = model ?? Path.Combine(AppContext.BaseDirectory, "harbor"),
            TokensPerBlock = arguments.GetValue(BlockTokens),
            MaxTokens = MaxTokens,
            Endpoints = [endpoint],
            Tenant = Tenant,
            Secret = secret,
        };
        var outcome = await new Demonstration(node, folder, Say).RunAsync(prompts, cancellationToken);
        new Report(AnsiConsole.Console).Show(outcome, silo.Process.MemoryBytes);
        if (arguments.GetValue(Keep))
        {
            // Not through the console's markup, which would break lines that are there to be copied.
            Console.WriteLine("The silo keeps running until Ctrl+C. How to reach it:");
            foreach (var address in ready.Endpoints)
                Console.WriteLine($"  KVCACHE_SECRET={secret} ... --tenant {Tenant} --cache {address}");
            Console.WriteLine($"  health and metrics: {ready.Http}");
            await silo.Process.WaitAsync(cancellationToken);
        }

        if (!await silo.StopAsync())
            Say("The silo did not stop when asked and was killed");
        Say($"Done after {Stopwatch.GetElapsedTime(began).TotalSeconds:F1} s");
        return outcome.Passed ? 0 : 1;
    }

    private static void Say(string line) => AnsiConsole.MarkupLineInterpolated($"[grey]{line}[/]");
}
