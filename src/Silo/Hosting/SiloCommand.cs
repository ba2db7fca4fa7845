using System.CommandLine;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using KvCache.Silo.Cluster;
using KvCache.Silo.Http;
using KvCache.Silo.Options;
using KvCache.Silo.Security;
using KvCache.Silo.Telemetry;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Descriptors;
using Microsoft.Extensions.Options;
using OpenTelemetry.Metrics;
using Orleans.Hosting;
using Orleans.Runtime;

namespace KvCache.Silo.Hosting;

/// <summary>The command line of the silo program. Every option is also configuration: see docs/configuration.md.</summary>
internal static class SiloCommand
{
    /// <summary>Time for sessions, grains and the cluster to leave in order. Keep a supervisor's limit above it.</summary>
    public static TimeSpan ShutdownTimeout { get; } = TimeSpan.FromSeconds(20);

    // How long a silo that one silo refuses waits for another that does not.
    private static readonly TimeSpan EntryPatience = TimeSpan.FromSeconds(2);

    // Time for what has begun to start to stop again. Orleans takes longer where it reaches nobody.
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(5);

    public static RootCommand Create()
    {
        var arena = new Option<string?>("--arena") { Description = "Size of the block memory, for example 4GiB (default 1GiB)." };
        var arenaFile =
            new Option<string?>(
            "--arena-file")
            {
                Description =
            "Shared-memory file of the arena, for example /dev/shm/kvcache.arena (default: private memory)."
            };
        var tcp = new Option<string?>(
            "--tcp")
        { Description = "Data plane address, ip:port; port 0 takes a free one, '' for none (default 127.0.0.1:7400)." };
        var unix = new Option<string?>("--unix") { Description = "Path of the data plane's Unix socket (default: none)." };
        var shared = new Option<bool>(
            "--shared-memory")
        { Description = "Let trusted clients on the Unix socket read blocks in the arena file (default: no)." };
        var resp = new Option<string?>(
            "--resp")
        { Description = "Address of the Redis endpoint, ip:port, for example 127.0.0.1:7430 (default: none)." };
        var lm = new Option<string?>(
            "--lm")
        { Description = "Address of LMCache's lm:// endpoint, ip:port, for example 127.0.0.1:7420 (default: none)." };
        var http = new Option<string>(
            "--http")
        {
            Description = "Addresses of the HTTP API, health and metrics, http:// or https://, several with ';' between them.",
            DefaultValueFactory = _ => "http://127.0.0.1:7480"
        };
        var siloPort =
            new Option<int>(
            "--silo-port")
            { Description = "Orleans port between silos; 0 takes a free one.", DefaultValueFactory = _ => 7410 };
        var gatewayPort =
            new Option<string>(
            "--gateway-port")
            {
                Description = "Orleans port for clients, for example 7411; 0 takes a free one (default: none).",
                DefaultValueFactory = _ => SiloPorts.NoGateway
            };
        var cluster =
            new Option<ClusterMode?>(
            "--cluster")
            {
                Description =
            "How silos find each other: none, localhost (several silos of this machine, see --primary) or redis (default none)."
            };
        var primary =
            new Option<int?>(
            "--primary")
            { Description = "With --cluster localhost: --silo-port of the first silo, which keeps the list of members." };
        var redis = new Option<string?>(
            "--redis")
        {
            Description =
            "Redis behind the silos, for persisted blocks and --cluster redis: host:port[,user=…][,password=…][,db=N] (default: none)."
        };
        var config = new Option<FileInfo?>(
            "--config")
        {
            Description =
            "JSON file with more settings (sections KvCache:Arena, :Store, :DataPlane, :Resp, :LmCache, :Prefixes, :Tenants, :Tls, "
            + ":Reload, :Cluster, :Orleans, :Redis, :Http, :Events)."
        };
        var readyFile =
            new Option<string?>(
            "--ready-file")
            { Description = "File that is written, as JSON, with the silo's addresses when it is ready." };
        var root = new RootCommand("A KvCache silo: keeps the KV tensors of prompt prefixes in memory and serves them to inference nodes.")
        {
            arena, arenaFile, tcp, unix, shared, resp, lm, http, cluster, primary, redis, siloPort, gatewayPort, config, readyFile,
        };
        root.SetAction(async (arguments, cancellationToken) =>
        {
            var settings = new Dictionary<string, string?>();
            Set(ArenaOptions.Section + ":Size", arguments.GetValue(arena));
            Set(ArenaOptions.Section + ":Path", arguments.GetValue(arenaFile));
            Set(DataPlaneOptions.Section + ":Tcp", arguments.GetValue(tcp));
            Set(DataPlaneOptions.Section + ":Unix", arguments.GetValue(unix));
            Set(DataPlaneOptions.Section + ":SharedMemory", arguments.GetValue(shared) ? "true" : null);
            Set(RespOptions.Section + ":Listen", arguments.GetValue(resp));
            Set(LmCacheOptions.Section + ":Listen", arguments.GetValue(lm));
            Set(ClusterOptions.Section + ":Mode", arguments.GetValue(cluster)?.ToString());
            Set(ClusterOptions.Section + ":PrimaryPort", arguments.GetValue(primary)?.ToString(CultureInfo.InvariantCulture));
            Set(RedisTierOptions.Section + ":ConnectionString", arguments.GetValue(redis));
            try
            {
                var ports = SiloPorts.Resolve(arguments.GetValue(siloPort), arguments.GetValue(gatewayPort)!);
                await using var app = Build(settings, arguments.GetValue(config), arguments.GetValue(http)!, ports);
                await StartAsync(app, cancellationToken);
                if (arguments.GetValue(readyFile) is { } path)
                {
                    await WaitUntilReadyAsync(app, cancellationToken);
                    ReadyFile.Describe(app.Services, ports, app.Services.GetRequiredService<IOptions<ArenaOptions>>().Value).Write(path);
                }

                await app.WaitForShutdownAsync(cancellationToken);
                return 0;
            }
            catch (Exception e) when (Explain(e) is { } sentence)
            {
                await Console.Error.WriteLineAsync($"kvcache-silo: {sentence}");
                return 2;
            }

            void Set(string key, string? value)
            {
                if (value is not null)
                    settings[key] = value;
            }
        });
        return root;
    }

    private static WebApplication Build(Dictionary<string, string?> settings, FileInfo? config, string http, SiloPorts ports)
    {
        var builder = WebApplication.CreateSlimBuilder();
        if (config is not null)
            builder.Configuration.AddJsonFile(config.FullName, optional: false);
        builder.Configuration.AddInMemoryCollection(settings);
        builder.Logging.AddFilter("Orleans", LogLevel.Warning).AddFilter("Microsoft.Orleans", LogLevel.Warning)
            .AddFilter("Microsoft.AspNetCore", LogLevel.Warning)
            .AddFilter("Orleans.Connections.Security", LogLevel.Error) // a stack for each handshake that fails
                                                                       // Orleans tells with every new silo which part of its ring a grain service has
            .AddFilter(typeof(SiloAgent).FullName, LogLevel.Warning)
            // A refused call is one bounded line of the guard. Orleans adds one with a stack for each, which a client can have as often as
            // it likes.
            .AddFilter("Orleans.Messaging", LogLevel.Critical).AddFilter("Orleans.Grain.InvokeException", LogLevel.None)
            // A call that is given up while the silo stops is one that nobody waits for; Orleans tells it with a stack.
            .AddFilter("Orleans.Runtime.GrainCallCancellationManager", LogLevel.Critical)
            .AddFilter("Polly", LogLevel.Warning) // Orleans' placement logs every new activation through it
            .AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None); // what fails at start is told below, in a sentence
        var isHttps = false;
        foreach (var address in http.Split(';').Select(BindingAddress.Parse))
        {
            if (address.Port > IPEndPoint.MaxPort)
                throw new FormatException($"--http is '{http}'; a port of at most {IPEndPoint.MaxPort} was expected.");
            isHttps |= address.Scheme == Uri.UriSchemeHttps;
        }

        builder.UseHttps(isHttps);
        builder.WebHost.UseUrls(http);
        builder.Host.UseOrleans(silo => silo
            .UseCluster(builder.Configuration, ports)
            .AddKvCacheRedisStorage(builder.Configuration)
            .AddKvCache(builder.Configuration));
        builder.Services.AddKvCacheHttp(builder.Configuration);
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = ShutdownTimeout);
        builder.Services.AddOpenTelemetry().WithMetrics(metrics => metrics
            .AddMeter(SiloCounters.MeterName, "Microsoft.Orleans")
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
        try
        {
            var starting = app.StartAsync(giveUp.Token);
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
            await app.StopAsync(CancellationToken.None).WaitAsync(StopPatience, CancellationToken.None)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
    }

    // What whoever starts the silo can put right. Anything else is a defect, and shows where it happened.
    private static string? Explain(Exception exception) => exception switch
    {
        InvalidDataException => $"{exception.Message} {exception.GetBaseException().Message}",
        InvalidOperationException { InnerException: FormatException reason } => reason.Message,
        InvalidOperationException { InnerException: ArgumentException } => exception.Message,
        SocketException => $"An address cannot be listened on: {exception.Message}.",
        OptionsValidationException or IOException or UnauthorizedAccessException or OrleansConfigurationException or FormatException =>
            exception.Message,
        _ => null,
    };

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
}
