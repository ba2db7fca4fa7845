using StackExchange.Redis;

namespace KvCache.Redis;

/// <summary>Settings of a <see cref="RedisKvCache"/>.</summary>
public sealed class RedisKvCacheOptions
{
    /// <summary>
    /// Where Redis is, as StackExchange.Redis writes it: <c>host:6379,user=…,password=…,ssl=true</c>; several addresses of a Redis
    /// Cluster, or sentinels with a <c>serviceName</c>. Not read where a connection is given.
    /// </summary>
    public string Configuration { get; set; } = "localhost:6379";

    /// <summary>Beginning of all keys. Default <c>kvcache.blocks</c>.</summary>
    public string KeyPrefix { get; set; } = "kvcache.blocks";

    /// <summary>
    /// What is done to a block before it is stored: its elements narrowed, its bytes compressed. Default: nothing. A cache that narrows has
    /// keys of its own, as what it gives back is another number than was stored: nobody who wants the bytes as they were reads them.
    /// </summary>
    public TensorEncoding Encoding { get; set; }

    /// <summary>Life of blocks that are stored without one. Default one day. Redis forgets nothing by itself unless it has a
    /// <c>maxmemory</c> and a policy; null is for those who have set both.</summary>
    public TimeSpan? DefaultTimeToLive { get; set; } = TimeSpan.FromDays(1);

    /// <summary>Most time of a match, and of other small calls. Default 250 ms.</summary>
    public TimeSpan MatchTimeout { get; set; } = TimeSpan.FromMilliseconds(250);

    /// <summary>Time that the first call has more, as it connects. Default 1 s; counts once, whether Redis was there or not.</summary>
    public TimeSpan FirstCallTimeout { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>Most time of a load. Default 5 s.</summary>
    public TimeSpan LoadTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>Most time of a store, a deletion or a clearing. Default 10 s.</summary>
    public TimeSpan StoreTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Bytes of blocks that a call has on the way at the same time, at least one block. Default 64 MiB.</summary>
    public ByteSize MaxBytesOnTheWay { get; set; } = ByteSize.MiB(64);

    /// <summary>What is wrong, each in a sentence; nothing when all is right.</summary>
    public IReadOnlyList<string> Validate()
    {
        var problems = new List<string>();
        if (string.IsNullOrEmpty(KeyPrefix))
            problems.Add($"{nameof(KeyPrefix)} is empty; a beginning of keys was expected, such as kvcache.blocks.");
        if (DefaultTimeToLive <= TimeSpan.Zero)
            problems.Add($"{nameof(DefaultTimeToLive)} is {DefaultTimeToLive}; more than zero was expected, or null for no end.");
        foreach (var (name, value) in new[]
        {
            (nameof(MatchTimeout), MatchTimeout), (nameof(FirstCallTimeout), FirstCallTimeout), (nameof(LoadTimeout), LoadTimeout),
            (nameof(StoreTimeout), StoreTimeout),
        })
        {
            if (value <= TimeSpan.Zero || value > TimeSpan.FromHours(1))
                problems.Add($"{name} is {value}; more than zero and at most an hour was expected.");
        }

        if (MaxBytesOnTheWay.Bytes < 1)
            problems.Add($"{nameof(MaxBytesOnTheWay)} is {MaxBytesOnTheWay}; at least a byte was expected.");
        try
        {
            _ = Encoding.CheckedLevel();
            _ = Encoding.StoredType(KvDataType.Float32);
        }
        catch (ArgumentException e)
        {
            problems.Add($"{nameof(Encoding)}: {e.Message}");
        }

        try
        {
            if (ConfigurationOptions.Parse(Configuration).EndPoints.Count == 0)
                problems.Add($"{nameof(Configuration)} is '{Configuration}' and names no address; host:port was expected.");
        }
        catch (ArgumentException e)
        {
            problems.Add($"{nameof(Configuration)} is not understood: {e.Message}");
        }

        return problems;
    }
}
