using System.CommandLine;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text.Json;
using KvCache.Processes;
using KvCache.QuickStart.Processes;
using KvCache.Silo.Hosting;
using Spectre.Console;

namespace KvCache.QuickStart;

/// <summary>The whole system on one machine: a silo and inference nodes, each a process, started and stopped by this program.</summary>
internal static class QuickStartCommand
{
    private const string Tenant = "quickstart";
    private const int MaxTokens = 48;

    private static readonly Option<string?> Model =
        new("--model") { Description = "Hugging Face directory or llama2.c file (default: the small model of this sample)" };
    private static readonly Option<FileInfo?> Prompts =
        new("--prompts")
        {
            Description =
        "JSON array of strings. The first prompt fills the cache, then another process continues all of them"
        };
    private static readonly Option<int> BlockTokens =
        new("--block-tokens") { DefaultValueFactory = _ => 16, Description = "Tokens of a cache block; large models want 256" };
    private static readonly Option<int> Silos =
        new("--silos")
        {
            DefaultValueFactory = _ => 1,
            Description =
        "Silo processes, as one cluster. With several, the prompt is stored through one of them, which is then killed (SIGKILL), and "
        + "found through another"
        };
    private static readonly Option<string> Transport =
        new("--transport") { DefaultValueFactory = _ => "tcp", Description = "How nodes reach the silo" };
    private static readonly Option<bool> Keep =
        new("--keep") { Description = "Leave the silo running until Ctrl+C, and print how to reach it" };

    public static RootCommand Create()
    {
        var root = new RootCommand(
            "Starts a silo and inference nodes, and shows what the cache saves and that it changes no token. The exit code is 1 if a "
            + "token differs, nothing is found in the cache, zeroed KV does not change the text, or a feature of the check-up fails.")
        {
            Model, Prompts, BlockTokens, Silos, Transport, Keep,
        };
        BlockTokens.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < 1)
                result.AddError("--block-tokens is at least 1.");
        });
        Silos.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() is < 1 or > SiloGroup.Most)
                result.AddError($"--silos is 1 to {SiloGroup.Most}.");
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

        await using var silos =
            new SiloGroup(folder, new Dictionary<string, string> { [Tenant] = secret }, arguments.GetValue(Transport)!, Say);
        await silos.StartAsync(arguments.GetValue(Silos), cancellationToken);
        var (filled, read) = silos.Count == 1 ? (0, 0) : (1, silos.Count == 2 ? 0 : 2);
        var filling = new InferenceProcess
        {
            Model = model ?? Path.Combine(AppContext.BaseDirectory, "harbor"),
            TokensPerBlock = arguments.GetValue(BlockTokens),
            MaxTokens = MaxTokens,
            Endpoints = [silos.EndpointOf(filled)],
            Tenant = Tenant,
            Secret = secret,
            Replicas = Math.Min(silos.Count, 2),
        };
        var reading = filling with { Endpoints = [silos.EndpointOf(read)] };
        var report = new Report(AnsiConsole.Console);
        var passed = true;
        if (model is null && silos.Count == 1 && prompts == DemoPrompts.ForHarbor)
        {
            Say("First a model of random numbers with prompts of 6,000 tokens: what is gained");
            InferenceProcess OfLarger(InferenceProcess node) => node with { Model = "random:tiny", TokensPerBlock = 64, MaxTokens = 4 };
            var gain = await new Demonstration(OfLarger(filling), OfLarger(reading), folder, Say)
                .RunAsync(DemoPrompts.Long, LoseAsync, hasControl: false, cancellationToken);
            report.ShowGain(gain);
            passed = gain.Passed;
            Say("Then a model that was trained, which writes text: what stays the same");
        }

        var outcome = await new Demonstration(filling, reading, folder, Say)
            .RunAsync(prompts, LoseAsync, hasControl: true, cancellationToken);
        report.Show(outcome, silos.MemoryBytes);
        var features = await new CheckUp(silos.EndpointOf(read), Tenant, secret).RunAsync(cancellationToken);
        report.Show(features);
        passed &= outcome.Passed && features.All(feature => feature.Passed);
        if (arguments.GetValue(Keep))
        {
            // Not through the console's markup, which would break lines that are there to be copied.
            Console.WriteLine("The silos keep running until Ctrl+C. How to reach them:");
            foreach (var (ready, address) in silos.Running.SelectMany(ready => ready.Endpoints.Select(address => (ready, address))))
                Console.WriteLine(
                    $"  KVCACHE_SECRET={secret} ... --tenant {Tenant} --cache {address}   (health and metrics: {ready.Http})");
            await silos.WaitAsync(cancellationToken);
        }

        if (!await silos.StopAsync())
            Say("A silo did not stop when asked and was killed");
        Say($"Done after {Stopwatch.GetElapsedTime(began).TotalSeconds:F1} s");
        return passed ? 0 : 1;

        async Task LoseAsync(CancellationToken cancellationToken)
        {
            if (silos.Count == 1)
                return;
            await silos.WaitForCopiesAsync(filled, cancellationToken);
            await silos.KillAsync(filled);
        }
    }

    private static void Say(string line) => AnsiConsole.MarkupLineInterpolated($"[grey]{line}[/]");
}
