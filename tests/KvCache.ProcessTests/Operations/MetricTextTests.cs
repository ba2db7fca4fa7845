using KvCache.Processes;
using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>What <c>/metrics</c> says, as those who read it expect it.</summary>
public sealed class MetricTextTests
{
    private static readonly string[] Units = ["milliseconds", "microseconds", "megabytes", "kilobytes"];

    [Fact]
    public async Task Every_metric_has_a_text_and_the_usual_unit_and_the_runtime_s_are_there()
    {
        await using var silo = await SiloProcess.StartAsync();
        using var http = new HttpClient { BaseAddress = new Uri(silo.Ready.Http) };
        var text = await http.GetStringAsync(new Uri("/metrics", UriKind.Relative));

        var names = text.Split('\n').Where(line => line.StartsWith("# TYPE ", StringComparison.Ordinal)).Select(line => line.Split(' ')[2])
            .ToArray();
        foreach (var name in names)
        {
            Assert.Contains($"# HELP {name} ", text, StringComparison.Ordinal);
            Assert.DoesNotContain(Units, unit => name.Contains(unit, StringComparison.Ordinal));
            Assert.False(name.EndsWith("_count", StringComparison.Ordinal), name);
        }

        Assert.Contains(names, name => name.StartsWith("orleans_", StringComparison.Ordinal));
        Assert.Contains(names, name => name.StartsWith("dotnet_gc_", StringComparison.Ordinal));
        Assert.Equal(1, Metrics.Value(text, "kvcache_cluster_members", ""));
        if (ProgramCommand.Find("promtool") is not { } promtool)
            return;
        var file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, text);
        var checks = await Report.RunAsync(ProgramCommand.Of("sh", ["-c", $"{promtool} check metrics < {file}"]), Eventually.Bound);
        File.Delete(file);
        Assert.Equal(0, checks.ExitCode);
    }
}
