using KvCache.Settings;
using KvCache.Silo.Options;
using KvCache.Silo.Settings;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>How settings are written.</summary>
public sealed class SettingsTextTests
{
    [Theory]
    [InlineData("00:00:02", 2_000)]
    [InlineData("1.00:00:00.500", 86_400_500)]
    [InlineData("500ms", 500)]
    [InlineData("2s", 2_000)]
    [InlineData("2 s", 2_000)]
    [InlineData("1.5m", 90_000)]
    [InlineData("3h", 10_800_000)]
    [InlineData("2d", 172_800_000)]
    [InlineData("-1s", -1_000)]
    public void Times_are_clock_times_or_numbers_with_a_unit(string text, long milliseconds)
    {
        Assert.True(Duration.TryParse(text, out var time));
        Assert.Equal(milliseconds, (long)time.TotalMilliseconds);
    }

    [Theory]
    [InlineData("20")]
    [InlineData("0")]
    [InlineData("10:00")]
    [InlineData("")]
    [InlineData("s")]
    [InlineData("5 years")]
    [InlineData("1e3s")]
    [InlineData("99999999999999d")]
    public void Anything_else_is_no_time(string text) => Assert.False(Duration.TryParse(text, out _));

    [Theory]
    [InlineData("127.0.0.1:7400", true)]
    [InlineData("0.0.0.0:0", true)]
    [InlineData("[::1]:7400", true)]
    [InlineData("127.0.0.1", false)]
    [InlineData("7400", false)]
    [InlineData("1:7400", false)]
    [InlineData("::1:7400", false)]
    [InlineData("[::1]", false)]
    [InlineData("127.0.0.1:99999", false)]
    [InlineData("localhost:7400", false)]
    [InlineData(":7400", false)]
    public void Addresses_to_listen_on_have_an_ip_and_a_port(string text, bool expected) =>
        Assert.Equal(expected, ListenAddress.TryParse(text, out _));

    [Theory]
    [InlineData("Sise", "Size")]
    [InlineData("maxconections", "MaxConnections")]
    [InlineData("Modle", "Mode")]
    public void The_nearest_name_is_found(string written, string meant) =>
        Assert.Equal(meant, NearestName.Of(written, ["Path", "Size", "Mode", "Group", "MaxConnections"]));

    [Fact]
    public void Memory_is_the_smallest_limit_of_the_control_groups_above_the_process()
    {
        var root = Directory.CreateTempSubdirectory("kvcache-proc-").FullName;
        Write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\n");
        Write("proc/self/cgroup", "0::/pods/silo\n");
        Write("cgroup/pods/silo/memory.max", "max\n");

        Assert.Equal(16L << 30, Memory().Bytes);
        Write("cgroup/pods/memory.max", $"{8L << 30}\n");
        Assert.Equal(8L << 30, Memory().Bytes);
        Write("cgroup/pods/silo/memory.max", $"{2L << 30}\n");
        Assert.Equal(2L << 30, Memory().Bytes);
        Write("proc/self/cgroup", "4:cpu:/pods\n3:memory,hugetlb:/old\n");
        Write("cgroup/memory/old/memory.limit_in_bytes", $"{1L << 30}\n");
        Assert.Equal(1L << 30, Memory().Bytes);
        Assert.Contains("control group", Memory().Reason, StringComparison.Ordinal);
        Directory.Delete(root, recursive: true);

        (long Bytes, string Reason) Memory() => MachineLimits.MemoryOf(Path.Combine(root, "proc"), Path.Combine(root, "cgroup"));

        void Write(string path, string text)
        {
            var full = Path.Combine(root, path);
            Directory.CreateDirectory(Path.GetDirectoryName(full)!);
            File.WriteAllText(full, text);
        }
    }

    [Fact]
    public void Every_section_that_the_silo_binds_is_in_the_schema()
    {
        var sections = typeof(DataPlaneOptions).Assembly.GetTypes()
            .Select(type => type.GetField("Section")?.GetRawConstantValue() as string).OfType<string>();

        foreach (var section in sections)
            Assert.NotNull(SettingsSchema.Find(section));
    }
}
