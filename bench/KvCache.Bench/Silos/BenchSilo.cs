using System.Diagnostics;
using System.Globalization;
using KvCache.Bench.Raw;
using KvCache.Bench.Transfer;
using KvCache.Client;
using KvCache.Engine.Security;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Processes;
using KvCache.Silo.Hosting;

namespace KvCache.Bench.Silos;

/// <summary>A silo in a process of its own, as it runs beside an inference node.</summary>
internal sealed class BenchSilo : IDisposable
{
    private static readonly TimeSpan StartLimit = TimeSpan.FromMinutes(2);

    private static readonly TimeSpan SettleTime = TimeSpan.FromSeconds(6);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-bench-");
    private readonly SiloChild _silo;
    private readonly string _arena;
    private readonly string _certificate = "";
    private ReadyFile? _addresses;

    private BenchSilo(ByteSize arena, bool withUnix, bool withTls, IEnumerable<string> arguments)
    {
        // What is measured is how bytes move: a policy that refuses what is worth least would leave some of them out.
        var settings = new Dictionary<string, string>
        {
            ["Logging:LogLevel:Default"] = "Warning",
            ["KvCache:Store:Eviction"] = "lru/t",
        };
        if (withTls)
        {
            _certificate = Path.Combine(_folder.FullName, "silo.pem");
            BenchCertificate.Write(_certificate, _certificate + ".key");
            settings["KvCache:Tls:CertificateFile"] = _certificate;
            settings["KvCache:Tls:KeyFile"] = _certificate + ".key";
        }

        _arena = Path.Combine("/dev/shm", _folder.Name);
        _silo = SiloChild.Start(new SiloSettings(
            Arena: arena.Bytes.ToString(CultureInfo.InvariantCulture),
            UseUnix: withUnix,
            Folder: _folder.FullName,
            Settings: settings,
            Arguments: ["--arena-file", _arena, "--resp", "127.0.0.1:0", .. withUnix ? (string[])["--shared-memory"] : [], .. arguments]));
    }

    /// <summary>Where the silo listens.</summary>
    public ReadyFile Addresses => _addresses ?? throw new InvalidOperationException("The silo has not been waited for.");

    /// <summary>Starts a silo, and brings it to rest.</summary>
    /// <param name="arena">Size of its block memory.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <param name="withTls">Whether its TCP port speaks TLS; its Unix socket does not.</param>
    public static BenchSilo Start(ByteSize arena, CancellationToken cancellation, bool withTls = false)
    {
        var silo = new BenchSilo(arena, withUnix: true, withTls, []);
        silo.WaitUntilReady(cancellation);
        silo.Settle();
        return silo;
    }

    /// <summary>Starts a silo without waiting for it.</summary>
    /// <param name="arena">Size of its block memory.</param>
    /// <param name="withUnix">Whether it has a Unix socket, through which clients also map its arena.</param>
    /// <param name="arguments">Further arguments.</param>
    public static BenchSilo Launch(ByteSize arena, bool withUnix, params IEnumerable<string> arguments) =>
        new(arena, withUnix, withTls: false, arguments);

    /// <summary>Waits until the silo serves; one that does not is disposed.</summary>
    /// <exception cref="ChildProcessException">It did not start.</exception>
    public void WaitUntilReady(CancellationToken cancellation)
    {
        try
        {
            _addresses = _silo.WaitUntilReadyAsync(ReadyFile.TryRead, StartLimit, cancellation).GetAwaiter().GetResult();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Address of the data plane over <c>tcp</c> or <c>unix</c>.</summary>
    private string Address(string transport) =>
        Addresses.Endpoints.First(address => address.StartsWith(transport, StringComparison.Ordinal));

    public SiloEndpoint Endpoint(string transport) => SiloEndpoint.TryParse(Address(transport))!;

    /// <summary>A client of the silo alone.</summary>
    /// <param name="transport"><c>tcp</c>, <c>unix</c>, or <c>shm</c> for the arena mapped into this process.</param>
    /// <param name="patience">Deadline of its calls: everybody here shares the cores, and a deadline that was missed for that alone would
    /// count as a miss.</param>
    /// <param name="leaseLife">How long it keeps leases on mapped blocks; null for its default.</param>
    public KvCacheClient Client(string transport, TimeSpan patience, TimeSpan? leaseLife = null)
    {
        var isShared = transport == "shm";
        var options =
            new KvCacheClientOptions
            {
                MatchTimeout = patience,
                LoadTimeout = patience,
                StoreTimeout = patience,
                SiloPatience = patience,
                SharedMemory = isShared
            };
        options.LeaseLife = leaseLife ?? options.LeaseLife;
        options.Endpoints.Add(Address(isShared ? "unix" : transport));
        return new KvCacheClient(options);
    }

    /// <summary>A connection as the tenant of a silo without configured tenants.</summary>
    public BlockConnection Connect(string transport) => transport == "tls"
        ? BlockConnection.Connect(
            SiloEndpoint.TryParse("tls:" + Address("t")[4..])!, "default", "",
            new TlsClient(Certificates.LoadAuthorities("the benchmark's authority", _certificate)))
        : BlockConnection.Connect(Endpoint(transport), "default", "");

    // A silo runs for weeks; its first seconds belong to the runtime's compiler. A few thousand small requests bring it to rest.
    private void Settle()
    {
        var transfer = new TransferCase(4096 * 32, 1, 64);
        using var buffers = new LaneBuffers(transfer.RequestBytes);
        using var puts = new SiloPutLane(this, "unix", transfer, buffers);
        using var gets = new SiloGetLane(this, _certificate.Length > 0 ? "tls" : "tcp", transfer, buffers);
        var began = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(began) < SettleTime)
        {
            puts.Run(1);
            gets.Run(1);
        }
    }

    public void Dispose()
    {
        _silo.Dispose();
        File.Delete(_arena); // one that had to be killed leaves it behind
        if (_folder.Exists)
            _folder.Delete(recursive: true);
    }
}
