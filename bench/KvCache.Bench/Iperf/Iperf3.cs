using System.Globalization;
using System.Text.Json;
using KvCache.Bench.Measuring;
using KvCache.Processes;

namespace KvCache.Bench.Iperf;

/// <summary>
/// An independent opinion on what a TCP connection can do here. It keeps our raw loop honest: a yardstick that we wrote
/// ourselves could be soft without anyone noticing.
/// </summary>
/// <remarks>Reports the time that iperf3 itself measured; the start of its process is not in it.</remarks>
internal sealed class Iperf3 : IContender, IDisposable
{
    private const string MovedBytes = "768M";
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private readonly string _program;
    private readonly string _port = LoopbackPort.FindFree().ToString(CultureInfo.InvariantCulture);
    private readonly ChildProcess _server;
    private readonly string[] _congestion;

    private Iperf3(string program)
    {
        _program = program;
        var server = ProgramCommand.Of(program, ["--server", "--bind", "127.0.0.1", "--port", _port, "--forceflush"]);
        // The banner comes once the port is open.
        var banner = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        _server = ChildProcess.Start(server, line => _ = line.Contains("listening", StringComparison.Ordinal) && banner.TrySetResult(line));
        _server.WaitUntilReadyAsync(() => banner.Task.IsCompleted ? banner.Task : null, Limit).GetAwaiter().GetResult();
        _congestion = BestCongestion();
    }

    public string Name => "iperf3";

    public IReadOnlyList<string> ComparedWith => [];

    /// <returns>Null when iperf3 is not installed.</returns>
    public static Iperf3? TryStart() => ProgramCommand.Find("iperf3") is { } program ? new Iperf3(program) : null;

    /// <returns>GiB/s at the receiver, with the better of the two congestion controls that the raw loop tries, too.</returns>
    public double Measure() => Run(_congestion);

    public void Dispose() => _server.Dispose();

    internal static double ParseGibPerSecond(string json)
    {
        using var document = JsonDocument.Parse(json);
        if (document.RootElement.TryGetProperty("error", out var error))
            throw new IOException($"iperf3 failed: {error.GetString()}");
        var sum = document.RootElement.GetProperty("end").GetProperty("sum_received");
        return sum.GetProperty("bits_per_second").GetDouble() / 8 / (1L << 30);
    }

    private string[] BestCongestion()
    {
        string[][] settings = [[], ["--congestion", "reno"]];
        var best = new double[settings.Length];
        for (var round = 0; round < 4; round++)
        {
            for (var i = 0; i < settings.Length; i++)
                best[i] = Math.Max(best[i], Run(settings[i]));
        }
        return best[1] > best[0] ? settings[1] : settings[0];
    }

    private double Run(IEnumerable<string> extra)
    {
        string[] arguments = ["--client", "127.0.0.1", "--port", _port, "--bytes", MovedBytes, "--json", .. extra];
        return ParseGibPerSecond(ProgramResult.RunAsync(ProgramCommand.Of(_program, arguments), Limit).GetAwaiter().GetResult().Output);
    }
}
