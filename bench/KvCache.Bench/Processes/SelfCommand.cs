using System.Diagnostics;

namespace KvCache.Bench.Processes;

/// <summary>How to start this program once more, whether it runs as its own executable or under <c>dotnet</c>.</summary>
internal static class SelfCommand
{
    public static ProcessStartInfo Create(params IEnumerable<string> arguments)
    {
        var host = Environment.ProcessPath ?? throw new InvalidOperationException("The path of this program is unknown.");
        var start = new ProcessStartInfo(host) { UseShellExecute = false };
        if (Path.GetFileNameWithoutExtension(host) is "dotnet")
            start.ArgumentList.Add(typeof(SelfCommand).Assembly.Location);
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        return start;
    }
}
