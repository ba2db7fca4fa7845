using System.Diagnostics;
using System.Net;
using KvCache.Silo.Cluster;
using KvCache.Silo.Http;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using KvCache.Silo.Settings;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Tiers.Descriptors;
using KvCache.Silo.Tiers.Disk;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using OpenTelemetry.Metrics;
using Orleans.Hosting;
using Orleans.Runtime;

namespace KvCache.Silo.Hosting;

/// <summary>A silo from its start to its end.</summary>
internal static partial class SiloProgram
{
    // How long a silo that one silo refuses waits for another that does not.
    private static readonly TimeSpan EntryPatience = TimeSpan.FromSeconds(2);

    // Time for parts to stop in order, then for what is left of them. Orleans takes longer where it reaches nobody, and nobody is then
    // helped by waiting.
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan DisposePatience = TimeSpan.FromSeconds(1);

    /// <summary>Runs a silo until it is asked to end.</summary>
    /// <returns>Exit code of the program.</returns>
    public static async Task<int> RunAsync(
        Dictionary<string, string?> commandLine, FileInfo? config, StartTerms terms, CancellationToken cancellationToken)
    {
        WebApplication? app = null;
        try
        {
            app = Build(commandLine, config, terms);
            await RedisStart.CheckAsync(app.Configuration, cancellationToken);
            await StartAsync(app, cancellationToken);
            MachineLimits.WarnOfFiles(app.Services);
            if (terms.ReadyFile is { } path)
            {
                await WaitUntilReadyAsync(app, cancellationToken);
                ReadyFile.Describe(app.Services, terms.Ports, app.Services.GetRequiredService<IOptions<ArenaOptions>>().Value).Write(path);
            }

            await WaitAsync(app, cancellationToken);
            await app.Services.GetRequiredService<HandOver>().RunAsync();
            if (app.Services.GetService<DiskTier>() is { } disk)
                await disk.DrainAsync();
            await StopAsync(app);
            return 0;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            return 0; // it was asked to end before it had started
        }
        catch (Exception e)
        {
            if (app is not null)
                LogFailed(app.Services.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(SiloProgram).FullName!), e);
            await Console.Error.WriteLineAsync($"kvcache-silo: {StartFailure.Explain(e)}");
            return StartFailure.ExitCode;
        }
        finally
        {
            if (app is not null)
                await DisposeAsync(app);
        }
    }

    private static async Task DisposeAsync(WebApplication app)
    {
        var left = app.Services.GetRequiredService<LeftFiles>();
        var disposing = Task.Run(() => app.DisposeAsync().AsTask(), CancellationToken.None);
        if (await Task.WhenAny(disposing, Task.Delay(DisposePatience, CancellationToken.None)) != disposing)
            left.Delete();
    }

    private static BindingAddress ParseHttp(string text)
    {
        try
        {
            // Without a port, .NET takes 80 or 443.
            var address = BindingAddress.Parse(text);
            if (address.Scheme is "http" or "https" && address.Port <= IPEndPoint.MaxPort
                && (address.IsUnixPipe || text.Contains($":{address.Port}", StringComparison.Ordinal)))
                return address;
        }
        catch (FormatException)
        {
        }

        throw new FormatException(
            $"--http is '{text}'; http://host:port or https://host:port was expected (the port too), for example http://127.0.0.1:7480.");
    }

    internal static WebApplication Build(Dictionary<string, string?> commandLine, FileInfo? config, StartTerms terms)
    {
        var builder = WebApplication.CreateSlimBuilder();
        SiloConfiguration.Read(builder.Configuration, config, commandLine);
        builder.Logging.AddSiloLog();
        var addresses = Array.ConvertAll(terms.Http.Split(';'), ParseHttp);
        builder.UseHttps(addresses.Any(address => address.Scheme == Uri.UriSchemeHttps));
        builder.WebHost.UseUrls(terms.Http);
        builder.Services.AddSingleton(terms);
        builder.Host.UseOrleans(silo =>
        {
            silo.UseCluster(builder.Configuration, terms.Ports)
                .AddKvCacheRedisStorage(builder.Configuration)
                .AddKvCache(builder.Configuration);
            silo.Services.AddSingleton<IFatalErrorHandler, FencedSilo>();
        });
        builder.Services.AddKvCacheHttp(builder.Configuration);
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = StopPatience);
        builder.Services.AddOpenTelemetry().WithMetrics(metrics => metrics
            .AddMeter(SiloCounters.MeterName, "Microsoft.Orleans", "System.Runtime")
            .AddView(MetricViews.Of)
            .AddPrometheusExporter());
        var app = builder.Build();
        app.MapKvCacheHttp();
        app.MapKvCacheHealth();
        return app;
    }

    private static async Task StartAsync(WebApplication app, CancellationToken cancellationToken)
    {
        var entry = app.Services.GetRequiredService<ClusterEntry>();
        using var giveUp = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var over = new CancellationTokenSource();
        try
        {
            var starting = app.StartAsync(giveUp.Token);
            _ = StartWatch.RunAsync(app.Services, over.Token);
            if (await Task.WhenAny(starting, entry.Refused) == starting)
            {
                await starting;
                return;
            }

            // One silo does not let this one in. Another may, and then it is that one silo which is wrong.
            await Task.WhenAny(starting, Task.Delay(EntryPatience, cancellationToken));
            if (starting.IsCompleted || entry.LetIn)
            {
                await starting;
                return;
            }

            await giveUp.CancelAsync();
            await Task.WhenAny(starting, Task.Delay(StopPatience, CancellationToken.None));
            throw new ClusterRefusedException(await entry.Refused);
        }
        catch
        {
            // What did start is stopped in order: disposed without it, Orleans fills the log with failures of its own. When
            // nothing did, the host cannot stop; why it did not start is what counts.
            await StopAsync(app).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
        finally
        {
            await over.CancelAsync();
        }
    }

    private static async Task WaitAsync(WebApplication app, CancellationToken cancellationToken)
    {
        var stopping = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using (app.Lifetime.ApplicationStopping.Register(stopping.SetResult))
        await using (cancellationToken.Register(app.Lifetime.StopApplication))
            await stopping.Task;
    }

    private static async Task StopAsync(WebApplication app)
    {
        var began = Stopwatch.GetTimestamp();
        using var limit = new CancellationTokenSource(StopPatience);
        var stopping = Task.Run(() => app.StopAsync(limit.Token), CancellationToken.None);
        if (await Task.WhenAny(stopping, Task.Delay(StopPatience, CancellationToken.None)) != stopping)
            await Console.Error.WriteLineAsync(
                $"kvcache-silo: Not every part has stopped within {Stopwatch.GetElapsedTime(began).TotalSeconds:0} s (Redis or other silos "
                + "do not answer); the silo ends without them.");
    }

    private static async Task WaitUntilReadyAsync(WebApplication app, CancellationToken cancellationToken)
    {
        var arena = app.Services.GetRequiredService<ArenaCommitter>();
        while (!arena.Ready)
        {
            if (arena.Failure is { } failure)
                throw new IOException(failure);
            await Task.Delay(20, cancellationToken);
        }
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "The start failed")]
    private static partial void LogFailed(ILogger logger, Exception exception);
}
