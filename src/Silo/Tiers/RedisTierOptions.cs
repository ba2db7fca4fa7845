using System.ComponentModel.DataAnnotations;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Tiers;

/// <summary>The Redis tier: block payloads outside of the silos, written behind.</summary>
internal sealed class RedisTierOptions : IValidatableObject
{
    /// <summary>Section of the configuration.</summary>
    public const string Section = "KvCache:Redis";

    /// <summary>
    /// Where Redis listens: <c>host:port[,user=…][,password=…][,db=N]</c> or <c>unix:/path[,…]</c>. Default empty: no tier. A password
    /// cannot contain a comma.
    /// </summary>
    public string ConnectionString { get; set; } = "";

    /// <summary>File with the password, instead of one in the connection string. Default empty. Read again when it changes, for the
    /// connections that are made from then on.</summary>
    public string PasswordFile { get; set; } = "";

    /// <summary>Encryption of the connections.</summary>
    public RedisTlsOptions Tls { get; } = new();

    /// <summary>
    /// File with the keys that payloads and descriptors are sealed with, a line <c>ID KEY</c> each: a number, and 32 random bytes as
    /// Base64. The first writes, all of them
    /// read; what is not sealed, or not with one of them, is a miss. Default empty: nothing is sealed, and whoever can write to Redis can
    /// write every tenant's blocks.
    /// </summary>
    public string SealFile { get; set; } = "";

    /// <summary>Whether payloads are encrypted too, with the same keys. Default false.</summary>
    public bool Encrypt { get; set; }

    /// <summary>Front part of every key. Default <c>kvcache</c>; clusters that share a Redis need different ones.</summary>
    [Required, StringLength(128)]
    public string KeyPrefix { get; set; } = "kvcache";

    /// <summary>
    /// Most bytes of blocks that wait to be written; they cannot be evicted meanwhile. Default 0: an eighth of the arena. Over it
    /// blocks are not persisted, and counted. One block always fits.
    /// </summary>
    public ByteSize MaxQueuedBytes { get; set; }

    /// <summary>Longest time that a block waits to be written, retries included. Default 30 s; then it is not persisted.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "01:00:00")]
    public TimeSpan MaxQueueTime { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>Connections that write, each with a thread. Default 1: it fills a Redis, which has one thread.</summary>
    [Range(1, 16)]
    public int Writers { get; set; } = 1;

    /// <summary>Connections that read, each with a thread. Default 2.</summary>
    [Range(1, 64)]
    public int Readers { get; set; } = 2;

    /// <summary>Most promotions that wait for a reader. Default 1024; further ones are misses.</summary>
    [Range(1, 1_000_000)]
    public int MaxQueuedReads { get; set; } = 1024;

    /// <summary>Limit of connecting and authenticating. Default 2 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:10:00")]
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Limit of one write. Default 10 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "01:00:00")]
    public TimeSpan WriteTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Limit of a promotion, waiting included. Default 5 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "01:00:00")]
    public TimeSpan ReadTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Limit of a small command: delete, change of a life, look-up, a page of a scan, probe. Default 2 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:10:00")]
    public TimeSpan CommandTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>Time that a stopping silo goes on writing what waits. Default 5 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "01:00:00")]
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Life in Redis of blocks that have no end of life of their own. Default 1 day; 0 for as long as Redis keeps them.</summary>
    [Range(typeof(TimeSpan), "00:00:00", "3650.00:00:00")]
    public TimeSpan DefaultTimeToLive { get; set; } = TimeSpan.FromDays(1);

    /// <summary>Failures in a row that open the circuit breaker. Default 3.</summary>
    [Range(1, 1000)]
    public int BreakerFailures { get; set; } = 3;

    /// <summary>Time until an open breaker is probed; doubles with every failed probe, up to 30 s. Default 1 s.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "00:00:30")]
    public TimeSpan BreakerDelay { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Most deletions and changes of lives that wait for Redis. Default 100,000; further ones are refused. They are kept while Redis is
    /// away, as a deleted block must not come back.
    /// </summary>
    [Range(1, 10_000_000)]
    public int MaxPendingChanges { get; set; } = 100_000;

    /// <summary>
    /// Time from the end of one scan of Redis' keys to the next. Default 10 min: so long a match may promise what Redis has evicted. A read
    /// that does not find it tells the cluster at once.
    /// </summary>
    [Range(typeof(TimeSpan), "00:00:01", "1.00:00:00")]
    public TimeSpan ScanInterval { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>Keys that Redis looks at for one page of a scan. Default 1000: other commands wait behind a page.</summary>
    [Range(1, 100_000)]
    public int ScanPageSize { get; set; } = 1000;

    /// <summary>
    /// Kernel send and receive buffer of the connections that carry payloads. Default 0: 1 MiB on Unix sockets, and the kernel's own
    /// tuning on TCP.
    /// </summary>
    public ByteSize SocketBuffer { get; set; }

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Encrypt && SealFile.Length == 0)
            yield return new ValidationResult(
                $"{Section}:Encrypt is on, and {Section}:SealFile is empty; a file with keys was expected there.", [nameof(SealFile)]);
        if (ConnectionString.Length > 0 && FindProblem() is { } problem)
            yield return new ValidationResult(problem, [nameof(ConnectionString)]);
        if (KeyPrefix.AsSpan().ContainsAnyInRange('\0', ' '))
            yield return new ValidationResult($"{Section}:KeyPrefix contains spaces or control characters.", [nameof(KeyPrefix)]);
        if (MaxQueuedBytes.Bytes < 0)
            yield return new ValidationResult(
                $"{Section}:MaxQueuedBytes is {MaxQueuedBytes}; 0 or more was expected.", [nameof(MaxQueuedBytes)]);
        if (SocketBuffer.Bytes is < 0 or > 1 << 30)
            yield return new ValidationResult($"{Section}:SocketBuffer is {SocketBuffer}; 0 to 1GiB was expected.", [nameof(SocketBuffer)]);
    }

    private string? FindProblem()
    {
        try
        {
            RedisEndpoint.Create(this);
            return null;
        }
        catch (FormatException e)
        {
            return e.Message;
        }
    }
}

/// <summary>TLS towards Redis.</summary>
internal sealed class RedisTlsOptions
{
    /// <summary>Whether connections are encrypted. Default false.</summary>
    public bool Enabled { get; set; }

    /// <summary>PEM with the authorities of Redis' certificate. Default empty: those of the machine.</summary>
    public string CaFile { get; set; } = "";

    /// <summary>Name that Redis' certificate must have. Default empty: the host of the connection string.</summary>
    public string ServerName { get; set; } = "";

    /// <summary>Certificate that is shown to Redis, PEM or PFX. Default empty.</summary>
    public string CertificateFile { get; set; } = "";

    /// <summary>Its key, as PEM. Default empty: the certificate's file has it.</summary>
    public string KeyFile { get; set; } = "";

    /// <summary>Password of a PFX file or of an encrypted key. Default empty.</summary>
    public string Password { get; set; } = "";
}
