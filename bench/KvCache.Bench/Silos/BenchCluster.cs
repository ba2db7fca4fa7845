using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using KvCache.Bench.Processes;
using KvCache.Processes;

namespace KvCache.Bench.Silos;

/// <summary>Silos in processes of their own that form a cluster, as many as there are inference nodes.</summary>
internal sealed class BenchCluster : IDisposable
{
    private static readonly TimeSpan JoinLimit = TimeSpan.FromMinutes(1);

    private readonly Owned _owned = new();
    private readonly List<BenchSilo> _silos = [];

    /// <param name="count">Number of silos.</param>
    /// <param name="total">Their block memory together.</param>
    /// <param name="withUnix">Whether they have Unix sockets and share their memory with clients.</param>
    /// <param name="cancellation">Interrupts the start.</param>
    /// <exception cref="ChildProcessException">A silo did not start, or they did not find each other.</exception>
    public BenchCluster(int count, ByteSize total, bool withUnix, CancellationToken cancellation)
    {
        try
        {
            var arena = new ByteSize(total.Bytes / count);
            Launch();
            _silos[0].WaitUntilReady(cancellation); // the first one keeps the list of members
            for (var i = 1; i < count; i++)
                Launch("--primary", _silos[0].Addresses.SiloPort.ToString(CultureInfo.InvariantCulture));
            foreach (var silo in _silos.Skip(1))
                silo.WaitUntilReady(cancellation);
            WaitUntilTheyKnowEachOther(cancellation);

            void Launch(params string[] arguments) =>
                _silos.Add(_owned.Add(BenchSilo.Launch(arena, withUnix, ["--cluster", "localhost", .. arguments])));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The silos; the first is the one that the others found the cluster through.</summary>
    public IReadOnlyList<BenchSilo> Silos => _silos;

    public void Dispose() => _owned.Dispose();

    private void WaitUntilTheyKnowEachOther(CancellationToken cancellation)
    {
        using var http = new HttpClient();
        var began = Stopwatch.GetTimestamp();
        foreach (var silo in _silos)
        {
            while (CountPeers(http, silo) < _silos.Count - 1)
            {
                if (Stopwatch.GetElapsedTime(began) > JoinLimit)
                    throw new ChildProcessException($"{_silos.Count} silos did not become a cluster within {JoinLimit.TotalSeconds} s.");
                if (cancellation.WaitHandle.WaitOne(50))
                    cancellation.ThrowIfCancellationRequested();
            }
        }
    }

    private static int CountPeers(HttpClient http, BenchSilo silo)
    {
        using var response = http.Send(new HttpRequestMessage(HttpMethod.Get, $"{silo.Addresses.Http}/readyz"));
        using var readiness = JsonDocument.Parse(response.Content.ReadAsStream());
        return readiness.RootElement.GetProperty("peers").GetInt32();
    }
}
