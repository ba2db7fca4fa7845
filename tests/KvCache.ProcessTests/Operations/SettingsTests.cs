using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>Settings that nobody reads, or that mean something else than they say, end the start with a sentence.</summary>
public sealed class SettingsTests
{
    private static readonly string[] FreePorts =
        ["--arena", "2MiB", "--tcp", "127.0.0.1:0", "--http", "http://127.0.0.1:0", "--silo-port", "0"];

    [Theory]
    [InlineData("KvCache__Arena__Sise", "2MiB", "perhaps KvCache:Arena:Size was meant")]
    [InlineData("KvCache__Tenant__acme__Secret", "0123456789abcdef", "perhaps KvCache:Tenants")]
    [InlineData("KvCache__Tenants__acme__Secrett", "0123456789abcdef", "perhaps KvCache:Tenants:acme:Secret was meant")]
    [InlineData("KvCache__Arena__Unix", "/run/kvcache.sock", "perhaps KvCache:DataPlane:Unix was meant")]
    [InlineData("KvCache__Redis__Tls__CaFiles", "ca.pem", "perhaps KvCache:Redis:Tls:CaFile was meant")]
    [InlineData("KvCache__Events__Engines__one__Modell", "llama", "perhaps KvCache:Events:Engines:one:Model was meant")]
    [InlineData("KvCache_Arena_Size", "2MiB", "KvCache__Arena__Size was expected")]
    [InlineData("KvCahce__Arena__Size", "2MiB", "perhaps 'KvCache' was meant")]
    [InlineData("KvCache__Arena", "2MiB", "settings below it were expected")]
    public async Task A_setting_in_the_environment_that_nobody_reads_is_told_with_the_nearest_name(
        string name, string value, string sentence)
    {
        var said = await RefusedAsync([], new Dictionary<string, string> { [name] = value });

        Assert.Contains(sentence, said, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{ "Arena": { "Size": "2MiB" } }""", "has 'Arena' outside of 'KvCache'")]
    [InlineData("""{ "KvCache": { "Arena": { "Sice": "2MiB" } } }""", "perhaps KvCache:Arena:Size was meant")]
    [InlineData("""{ "KvCache": { "Stor": {} } }""", "perhaps KvCache:Store was meant")]
    [InlineData("""{ "Loging": { "LogLevel": { "Default": "Debug" } } }""", "perhaps 'Logging' was meant")]
    public async Task A_setting_in_the_file_that_nobody_reads_is_told(string settings, string sentence)
    {
        var folder = Directory.CreateTempSubdirectory("kvcache-settings-");
        var path = Path.Combine(folder.FullName, "settings.json");
        await File.WriteAllTextAsync(path, settings);

        var said = await RefusedAsync(["--config", path]);

        folder.Delete(recursive: true);
        Assert.Contains(sentence, said, StringComparison.Ordinal);
        Assert.Contains("settings.json", said, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("KvCache__DataPlane__FrameTimeout", "20", "KvCache:DataPlane:FrameTimeout is '20'; a time was expected")]
    [InlineData("KvCache__Resp__TimeToLive", "3600", "KvCache:Resp:TimeToLive is '3600'; a time was expected")]
    [InlineData("KvCache__DataPlane__IdleTimeout", "10:00", "KvCache:DataPlane:IdleTimeout is '10:00'; a time was expected")]
    [InlineData("KvCache__DataPlane__IdleTimeout", "5 parsecs", "units: ms, s, m, h, d")]
    [InlineData("KvCache__DataPlane__MaxHeldShare", "0,25", "KvCache:DataPlane:MaxHeldShare")]
    [InlineData("KvCache__Resp__Persist", "yes", "KvCache:Resp:Persist is 'yes'; true or false was expected")]
    [InlineData("KvCache__Resp__MaxValueSize", "big", "KvCache:Resp:MaxValueSize is 'big'; a size such as 512MiB")]
    [InlineData("KvCache__Events__Format", "Lists", "KvCache:Events:Format is 'Lists'; Arrays or Maps was expected")]
    [InlineData("KvCache__DataPlane__Advertised", "10.0.0.7", "host:port was expected")]
    public async Task A_value_of_the_wrong_kind_is_told_with_the_name_of_its_setting(string name, string value, string sentence)
    {
        var said = await RefusedAsync([], new Dictionary<string, string> { [name] = value });

        Assert.Contains(sentence, said, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--tcp", "127.0.0.1")]
    [InlineData("--tcp", "24300")]
    [InlineData("--tcp", "::1:24300")]
    [InlineData("--resp", "127.0.0.1")]
    [InlineData("--lm", "7420")]
    public async Task An_address_needs_its_port(string option, string address)
    {
        var said = await RefusedAsync([option, address]);

        Assert.Contains($"'{address}'; ip:port was expected", said, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("120%")]
    [InlineData("-5%")]
    [InlineData("much%")]
    public async Task A_share_of_the_memory_is_0_to_100_percent(string share)
    {
        Assert.Contains(
            "a share of the memory was expected, such as 75%", await RefusedAsync(["--arena", share]), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_arena_larger_than_the_memory_is_refused()
    {
        var said = await RefusedAsync(["--arena", "7TiB"]);

        Assert.Contains("KvCache:Arena:Size is 7TiB, and", said, StringComparison.Ordinal);
        Assert.Contains("of memory", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_arena_larger_than_its_file_system_is_refused()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root may mount a small file system.");

        var said = AssertOneSentence(await RunInShellAsync(
            ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=8m none /mnt && exec \"$@\"", "sh"],
            ["--arena", "16MiB", "--arena-file", "/mnt/arena"]));

        Assert.Contains("KvCache:Arena:Size is 16MiB, and the file system of /mnt/arena has 8MiB free", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Too_few_open_files_are_told()
    {
        var said = AssertOneSentence(await RunInShellAsync(["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"], []));

        Assert.Contains("may have 256 files open, and a silo needs at least", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Times_with_a_unit_a_share_of_the_memory_and_a_new_folder_for_the_socket_are_taken()
    {
        var folder = Directory.CreateTempSubdirectory("kvcache-folder-");
        var socket = Path.Combine(folder.FullName, "not", "there", "silo.sock");
        await using (var silo = await SiloProcess.StartAsync(new SiloSettings(
            Arena: "1%",
            UseUnix: false,
            Arguments: ["--unix", socket],
            Settings: new Dictionary<string, string>
            {
                ["KvCache__DataPlane__FrameTimeout"] = "2s",
                ["KvCache__DataPlane__HandshakeTimeout"] = "500ms",
                ["KvCache__DataPlane__IdleTimeout"] = "00:10:00",
            })))
        {
            await using var client = silo.Connect($"unix:{socket}");
            Assert.True(await client.ConnectAsync());
        }

        folder.Delete(recursive: true);
    }

    [Theory]
    [InlineData("--config", "")]
    [InlineData("KvCache__Tenants__acme__SecretFile", "KvCache:Tenants:acme:SecretFile")]
    [InlineData("KvCache__Cluster__SecretFile", "KvCache:Cluster:SecretFile", "--cluster", "localhost")]
    [InlineData("KvCache__Tls__CertificateFile", "KvCache:Tls:CertificateFile")]
    [InlineData("KvCache__Tls__CaFile", "KvCache:Tls:CaFile")]
    [InlineData("KvCache__Accounts__File", "KvCache:Accounts:File")]
    [InlineData("KvCache__Redis__SealFile", "KvCache:Redis:SealFile", "--redis", "127.0.0.1:1")]
    [InlineData("KvCache__Redis__PasswordFile", "KvCache:Redis:PasswordFile", "--redis", "127.0.0.1:1")]
    public async Task A_fifo_or_a_device_in_the_place_of_a_file_is_told_and_not_waited_for(
        string setting, string name, params string[] arguments)
    {
        var folder = Directory.CreateTempSubdirectory("kvcache-fifo-");
        var fifo = Path.Combine(folder.FullName, "fifo");
        await Report.RunAsync(ProgramCommand.Of("mkfifo", [fifo]), Eventually.Bound);
        foreach (var (path, kind) in new[] { (fifo, "FIFO"), ("/dev/zero", "device") })
        {
            var said = setting.StartsWith("--", StringComparison.Ordinal)
                ? await RefusedAsync([.. arguments, setting, path])
                : await RefusedAsync(arguments, Environment(setting, path));
            Assert.Contains($"'{path}' is a {kind}; a file was expected", said, StringComparison.Ordinal);
            Assert.Contains(name, said, StringComparison.Ordinal);
        }

        folder.Delete(recursive: true);

        static Dictionary<string, string> Environment(string setting, string path) => new()
        {
            ["KvCache__Tenants__other__Secret"] = "the secret of another tenant",
            [setting] = path,
        };
    }

    private static async Task<string> RefusedAsync(string[] arguments, Dictionary<string, string>? environment = null)
    {
        var free = FreePorts.Chunk(2).Where(option => !arguments.Contains(option[0])).SelectMany(option => option);
        return AssertOneSentence(await Report.RunAsync(ProgramCommand.Silo([.. free, .. arguments], environment), Eventually.Bound));
    }

    private static Task<ProgramResult> RunInShellAsync(string[] shell, string[] arguments)
    {
        var free = FreePorts.Chunk(2).Where(option => !arguments.Contains(option[0])).SelectMany(option => option);
        var silo = ProgramCommand.Silo([.. free, .. arguments]);
        return Report.RunAsync(ProgramCommand.Of(shell[0], [.. shell[1..], silo.FileName, .. silo.ArgumentList]), Eventually.Bound);
    }

    private static string AssertOneSentence(ProgramResult result)
    {
        Assert.Equal(2, result.ExitCode);
        var line = Assert.Single(result.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.DoesNotContain("   at ", result.Output, StringComparison.Ordinal);
        return line;
    }
}
