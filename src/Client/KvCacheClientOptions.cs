using System.Net;
using KvCache.Engine.Wire;
using KvCache.Files;

namespace KvCache.Client;

/// <summary>Settings of a <see cref="KvCacheClient"/>.</summary>
public sealed class KvCacheClientOptions
{
    /// <summary>
    /// Data-plane addresses of silos, in order of preference: <c>tcp:host:port</c>, <c>tls:host:port</c> or <c>unix:/path</c>. The first
    /// that answers is the home silo: it is asked where blocks are and gets what is stored. Further silos of its cluster are found through
    /// it.
    /// </summary>
    public IList<string> Endpoints { get; } = [];

    /// <summary>Tenant of this client. Default <c>default</c>, the tenant of a silo without configured tenants.</summary>
    public string Tenant { get; set; } = "default";

    /// <summary>The tenant's secret; it never travels. Default empty.</summary>
    public string Secret
    {
        get;
        set => field = value ?? "";
    } = "";

    /// <summary>
    /// File with the secret in its first line, instead of <see cref="Secret"/>. It is read for every new connection, so that a secret is
    /// exchanged without a restart. Default empty.
    /// </summary>
    public string SecretFile
    {
        get;
        set => field = value ?? "";
    } = "";

    /// <summary>Whom to trust and what to show at endpoints with TLS. Default: the authorities of the machine, and nothing.</summary>
    public KvCacheTlsOptions Tls { get; } = new();

    /// <summary>Connections for bulk bytes to each silo. Default 2; a further one carries matches. Each has a thread.</summary>
    public int DataConnections { get; set; } = 2;

    /// <summary>Deadline of a match and of other small requests. Default 100 ms; past it the call is a miss.</summary>
    public TimeSpan MatchTimeout { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>
    /// Deadline of the client's first match, which may have to wait until connections are made and code is compiled. Default 1 s, and never
    /// less than <see cref="MatchTimeout"/>; it counts once, whether a silo was there or not, so that a running engine never waits for it.
    /// </summary>
    public TimeSpan FirstMatchTimeout { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Deadline of a load. Default 5 s; past it what is complete counts and the rest is a miss.</summary>
    public TimeSpan LoadTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Deadline of a store. Default 30 s.</summary>
    public TimeSpan StoreTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Time in which a silo has to move at least 1 MiB for this client, or finish, before another one is asked instead, where there is
    /// another one. Default 1 s, and never more than a third of the call's deadline; a frozen silo costs up to twice this.
    /// </summary>
    public TimeSpan SiloPatience { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Most silos beyond <see cref="Endpoints"/> to which this client keeps connections. Default 64; blocks of further ones come through
    /// the home silo. Connections that were not used for two minutes give way to others.
    /// </summary>
    public int MaxSilos { get; set; } = 64;

    /// <summary>Failures in a row that open the circuit breaker of a silo. Default 3.</summary>
    public int BreakerFailures { get; set; } = 3;

    /// <summary>
    /// Time that an open breaker answers with misses at once, before one call may try again. Default 1 s; it doubles with every
    /// failed try, up to 30 s. Meanwhile the client connects by itself, every 2 s at least, and whichever succeeds closes the breaker.
    /// </summary>
    public TimeSpan BreakerDelay { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Kernel send and receive buffer of a connection. Default 0: 1 MiB for Unix sockets, which moves large blocks up to a third
    /// faster than the kernel's choice, and the kernel's own tuning for TCP.
    /// </summary>
    public ByteSize SocketBuffer { get; set; }

    /// <summary>
    /// Whether blocks of a silo of this machine are read in its memory instead of through its Unix socket. Default off; the silo has to
    /// share its memory too, and a silo that does not is read through the socket.
    /// </summary>
    public bool SharedMemory { get; set; }

    /// <summary>
    /// Whether blocks that are copied out of shared memory are compared with their checksums. Default true. Off is faster by a third to a
    /// half, and trusts the memory of the machine.
    /// </summary>
    public bool VerifySharedMemory { get; set; } = true;

    /// <summary>
    /// Time that an unused lease on a block in shared memory is kept, so that reading the block again asks nobody. Default 1 s; a block
    /// that another client deletes can be read here for so long. Zero for never.
    /// </summary>
    public TimeSpan LeaseLife { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>What is wrong with the settings: a sentence each that says what was expected; empty when nothing is.</summary>
    public IReadOnlyList<string> Validate()
    {
        var failures = new List<string>();
        if (Endpoints.Count == 0)
            failures.Add("Endpoints is empty; at least one data-plane address was expected, for example tcp:127.0.0.1:7400.");
        foreach (var endpoint in Endpoints)
        {
            if (SiloEndpoint.TryParse(endpoint) is null)
                failures.Add($"The endpoint '{endpoint}' is not an address; tcp:host:port, tls:host:port or unix:/path was expected.");
        }

        if (Tls.FindProblem() is { } problem)
            failures.Add(problem);
        if (string.IsNullOrEmpty(Tenant))
            failures.Add("Tenant is empty; the name of a tenant was expected, default where silos know none.");
        else if (CacheNamespace.FindTextProblem(nameof(Tenant), Tenant) is { } text)
            failures.Add(text);
        try
        {
            CreateSecret();
        }
        catch (IOException e)
        {
            failures.Add(e.Message);
        }

        Check(nameof(DataConnections), DataConnections, 1, 64);
        Check(nameof(MaxSilos), MaxSilos, 0, 1024);
        Check(nameof(BreakerFailures), BreakerFailures, 1, 1000);
        Check(nameof(MatchTimeout), MatchTimeout, TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(10));
        Check(nameof(FirstMatchTimeout), FirstMatchTimeout, TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(10));
        Check(nameof(LoadTimeout), LoadTimeout, TimeSpan.FromMilliseconds(1), TimeSpan.FromHours(1));
        Check(nameof(StoreTimeout), StoreTimeout, TimeSpan.FromMilliseconds(1), TimeSpan.FromHours(1));
        Check(nameof(SiloPatience), SiloPatience, TimeSpan.FromMilliseconds(1), TimeSpan.FromMinutes(10));
        Check(nameof(BreakerDelay), BreakerDelay, TimeSpan.FromMilliseconds(10), TimeSpan.FromMinutes(10));
        Check(nameof(LeaseLife), LeaseLife, TimeSpan.Zero, TimeSpan.FromMinutes(1));
        return failures;

        void Check<T>(string name, T value, T min, T max)
            where T : IComparable<T>
        {
            if (value.CompareTo(min) < 0 || value.CompareTo(max) > 0)
                failures.Add($"{name} is {value}; {min} to {max} was expected.");
        }
    }

    /// <exception cref="IOException">Secret and file do not hold; the message is one sentence.</exception>
    internal ClientSecret CreateSecret() => new(Secret, SecretFile);
}
