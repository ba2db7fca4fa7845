using System.CommandLine;
using System.Globalization;
using KvCache.Silo.Options;
using KvCache.Silo.Settings;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Disk;

namespace KvCache.Silo.Hosting;

/// <summary>The command line of the silo program. Every option is also configuration: see docs/configuration.md.</summary>
internal static class SiloCommand
{
    public static RootCommand Create()
    {
        var arena = new Option<string?>("--arena")
        {
            Description = "Size of the block memory, for example 4GiB, or a share of the memory, for example 75% (default 1GiB).",
        };
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
            Description = "Addresses of the HTTP API, health and metrics, http://host:port or https://host:port, several with ';' between them.",
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
        var disk = new Option<string?>(
            "--disk")
        { Description = "Folder of the disk tier, for this silo alone: blocks that leave the memory go there (default: none)." };
        var diskSize = new Option<string?>("--disk-size") { Description = "Most bytes in that folder, for example 200GiB." };
        var config = new Option<FileInfo?>(
            "--config")
        {
            Description =
            $"JSON file with more settings: {{ \"KvCache\": {{ … }} }} with {string.Join(", ", SettingsSchema.SectionNames)}."
        };
        var readyFile =
            new Option<string?>(
            "--ready-file")
            { Description = "File that is written, as JSON, with the silo's addresses when it is ready." };
        var rejoin = new Option<bool>(
            "--rejoin")
        { Description = "Let a silo that the others have declared dead start anew by itself, empty (default: it ends with exit code 3)." };
        var root = new RootCommand("A KvCache silo: keeps the KV tensors of prompt prefixes in memory and serves them to inference nodes.")
        {
            arena, arenaFile, tcp, unix, shared, resp, lm, http, cluster, primary, redis, disk, diskSize, siloPort, gatewayPort, config,
            readyFile, rejoin,
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
            Set(DiskOptions.Section + ":Path", arguments.GetValue(disk));
            Set(DiskOptions.Section + ":Size", arguments.GetValue(diskSize));
            StartTerms terms;
            try
            {
                var ports = SiloPorts.Resolve(arguments.GetValue(siloPort), arguments.GetValue(gatewayPort)!);
                terms = new StartTerms(arguments.GetValue(http)!, ports, arguments.GetValue(readyFile), arguments.GetValue(rejoin));
            }
            catch (Exception e) when (e is FormatException or IOException)
            {
                await Console.Error.WriteLineAsync($"kvcache-silo: {StartFailure.Explain(e)}");
                return StartFailure.ExitCode;
            }

            return await SiloProgram.RunAsync(settings, arguments.GetValue(config), terms, cancellationToken);

            void Set(string key, string? value)
            {
                if (value is not null)
                    settings[key] = value;
            }
        });
        return root;
    }
}
