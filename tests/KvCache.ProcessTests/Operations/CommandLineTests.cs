using System.Net;
using System.Net.Sockets;
using KvCache.Engine.Storage;
using KvCache.Orleans;
using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.QuickStart;
using KvCache.Testing;
using KvCache.TorchSharp;

namespace KvCache.ProcessTests;

/// <summary>What the silo program says to whoever starts and stops it.</summary>
public sealed class CommandLineTests
{
    private static readonly string[] FreePorts = ["--tcp", "127.0.0.1:0", "--http", "http://127.0.0.1:0", "--silo-port", "0"];

    [Theory]
    [InlineData("Size is '12banana'; a size such as 512MiB or 4GiB was expected", "--arena", "12banana")]
    [InlineData("Size is 4KiB; at least 1MiB was expected", "--arena", "4KiB")]
    [InlineData("no tenant has a secret", "--tcp", "0.0.0.0:0")]
    [InlineData("Tcp is 'nonsense'; ip:port was expected", "--tcp", "nonsense")]
    [InlineData("neither Tcp nor Unix", "--tcp", "")]
    [InlineData("an absolute path of at most 107 bytes was expected", "--unix", "relative.sock")]
    [InlineData("an absolute path was expected", "--arena-file", "relative.arena")]
    [InlineData("cannot be created", "--arena-file", "/proc/nowhere/arena")]
    [InlineData("The folder /proc/nowhere of the Unix socket", "--unix", "/proc/nowhere/data.sock")]
    [InlineData("/nowhere/settings.json", "--config", "/nowhere/settings.json")]
    [InlineData("--http is 'banana'; http://host:port", "--http", "banana")]
    [InlineData("--http is '127.0.0.1:0'; http://host:port", "--http", "127.0.0.1:0")]
    [InlineData("--http is 'http://127.0.0.1'; http://host:port", "--http", "http://127.0.0.1")]
    [InlineData("--http is 'http://127.0.0.1:99999'; http://host:port", "--http", "http://127.0.0.1:99999")]
    [InlineData("99999", "--silo-port", "99999")]
    [InlineData("-3", "--gateway-port", "-3")]
    [InlineData("a port, 0 for a free one, or 'none' was expected", "--gateway-port", "open")]
    public async Task A_wrong_option_ends_the_start_with_one_sentence(string sentence, string option, string value)
    {
        var result = await RunAsync([option, value]);

        Assert.Contains(sentence, AssertOneSentence(result), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_unknown_option_is_told_with_the_options_that_exist()
    {
        var result = await RunAsync(["--arenna", "1GiB"]);

        Assert.NotEqual(0, result.ExitCode);
        Assert.Contains("--arenna", result.Errors, StringComparison.Ordinal);
        Assert.Contains("--arena-file", result.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", result.Output + result.Errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--tcp", "127.0.0.1:{0}")]
    [InlineData("--http", "http://127.0.0.1:{0}")]
    [InlineData("--silo-port", "{0}")]
    [InlineData("--gateway-port", "{0}")]
    public async Task A_port_that_another_process_has_is_told(string option, string value)
    {
        using var other = new TcpListener(IPAddress.Loopback, 0);
        other.Start();
        var port = ((IPEndPoint)other.LocalEndpoint).Port;

        var result = await RunAsync([option, string.Format(System.Globalization.CultureInfo.InvariantCulture, value, port)]);

        Assert.Contains($"{port}", AssertOneSentence(result), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{ \"KvCache\": { \"Arena\": { ", "settings.json")]
    [InlineData("{ \"KvCache\": { \"Tenants\": { \"acme\": { \"Secret\": \"short\" } } } }", "The secret of tenant 'acme' is too short")]
    [InlineData(
        "{ \"KvCache\": { \"Tenants\": { \"a\": { \"Secret\": \"a secret of tenant a\", \"Share\": 0.6 }, "
            + "\"b\": { \"Secret\": \"a secret of tenant b\", \"Share\": 0.5 } } } }",
        "The tenants' shares are 1.1 together; at most 1 can be guaranteed")]
    [InlineData(
        "{ \"KvCache\": { \"Tenants\": { \"a\": { \"Secret\": \"a token of two people\" } }, "
            + "\"Accounts\": { \"ScrapeToken\": \"a token of two people\" } } }",
        "The secret of tenant 'a' is a token of who runs the silo")]
    [InlineData("{ \"KvCache\": { \"DataPlane\": { \"FrameTimeout\": \"-1\" } } }", "FrameTimeout")]
    [InlineData("{ \"KvCache\": { \"DataPlane\": { \"MaxConnections\": \"many\" } } }", "MaxConnections")]
    public async Task A_wrong_settings_file_is_told(string settings, string sentence)
    {
        var path = Path.Combine(Directory.CreateTempSubdirectory("kvcache-settings-").FullName, "settings.json");
        await File.WriteAllTextAsync(path, settings);

        var result = await RunAsync(["--config", path]);

        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        Assert.Contains(sentence, AssertOneSentence(result), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_is_not_a_socket_is_not_taken_for_one_and_stays()
    {
        var path = Path.GetTempFileName();
        await File.WriteAllTextAsync(path, "precious");

        var result = await RunAsync(["--unix", path]);

        Assert.Contains("is not a socket", AssertOneSentence(result), StringComparison.Ordinal);
        Assert.Equal("precious", await File.ReadAllTextAsync(path));
        File.Delete(path);
    }

    [Fact]
    public async Task A_second_silo_on_the_same_socket_or_arena_is_told_and_the_first_goes_on()
    {
        await using var first = await SiloProcess.StartAsync(new SiloSettings(UseArenaFile: true));

        var socket = await RunAsync(["--unix", first.UnixPath]);
        var arena = await RunAsync(["--arena-file", first.ArenaPath]);

        Assert.Contains("Another process listens on the Unix socket", AssertOneSentence(socket), StringComparison.Ordinal);
        Assert.Contains("Every silo needs a writable path of its own", AssertOneSentence(arena), StringComparison.Ordinal);
        await using var client = first.Connect(first.Unix);
        Assert.True(await client.ConnectAsync());
        Assert.True(File.Exists(first.ArenaPath));
    }

    [Fact]
    public async Task Help_names_every_option()
    {
        var result = await RunAsync(["--help"]);

        Assert.Equal(0, result.ExitCode);
        foreach (var option in (
            string[])["--arena", "--arena-file", "--tcp", "--unix", "--http", "--silo-port", "--gateway-port", "--config", "--ready-file"])
            Assert.Contains(option, result.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_silo_that_is_asked_to_end_ends_well_and_leaves_no_files_even_with_clients_at_work()
    {
        await using var silo = await SiloProcess.StartAsync(new SiloSettings(UseArenaFile: true));
        var ns = Prefixes.Namespace("busy", KvLayout.Opaque(4 << 20, 1));
        using var done = new CancellationTokenSource();
        await using var client = silo.Connect(silo.Unix, options => options.BreakerDelay = TimeSpan.FromMilliseconds(10));
        using var idle = RawPeer.Authenticated(silo.Tcp, "default", "");
        await client.MustStoreAsync(Prefixes.New(ns, 1));
        var work = Task.Run(async () =>
        {
            while (!done.IsCancellationRequested)
            {
                var prefix = Prefixes.New(ns, 2);
                await client.StoreAsync(prefix, 0, prefix.Blocks());
                await client.LoadAsync(prefix, 0, prefix.Memory(2));
            }
        });

        Assert.Equal(0, await silo.StopAsync());

        await done.CancelAsync();
        await work;
        Assert.False(File.Exists(silo.UnixPath));
        Assert.False(File.Exists(silo.ArenaPath));
        Assert.DoesNotContain("Unhandled", silo.Log, StringComparison.OrdinalIgnoreCase);
    }

    private static Task<ProgramResult> RunAsync(string[] arguments)
    {
        var free = FreePorts.Chunk(2).Where(option => !arguments.Contains(option[0])).SelectMany(option => option);
        return Report.RunAsync(
            ProgramCommand.Silo([.. arguments.Contains("--arena") ? [] : (string[])["--arena", "2MiB"], .. free, .. arguments]),
            Eventually.Bound);
    }

    private static string AssertOneSentence(ProgramResult result)
    {
        Assert.Equal(2, result.ExitCode);
        var line = Assert.Single(result.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.DoesNotContain("   at ", result.Output, StringComparison.Ordinal);
        return line;
    }
}
