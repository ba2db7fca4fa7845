using System.Buffers;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using KvCache.Client;
using KvCache.Engine.Wire;
using Microsoft.Extensions.Caching.Distributed;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace KvCache.Caching;

/// <summary>
/// The distributed cache of ASP.NET Core in a silo or a cluster of silos. Thread-safe; one instance serves a whole process.
/// </summary>
/// <remarks>
/// <para>
/// An entry is a value of the silos: it may be evicted when memory is needed, and goes with a silo that dies unless there are replicas or
/// a Redis behind them. Its key is hashed (SHA-256) and may have any length; its bytes move between the socket and the caller's memory,
/// with a checksum. An entry has at most 1 GiB less 64 KiB.
/// </para>
/// <para>
/// A cache that is down is a miss: a read of it finds nothing, and an entry that could not be stored is not there
/// (<see cref="KvDistributedCacheOptions.ThrowOnFailure"/>). Only a removal that is not certain is told, as an <see cref="IOException"/>,
/// for whoever removes relies on it. The synchronous methods block their thread until the silo has answered.
/// </para>
/// </remarks>
public sealed partial class KvDistributedCache : IBufferDistributedCache
{
    private const int Group = 0x44495354; // "DIST": keys of nobody else

    private readonly KvCacheClient _client;
    private readonly KvDistributedCacheOptions _options;
    private readonly StoreOptions _store;
    private readonly CacheNamespace _namespace;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;

    /// <summary>Creates a cache.</summary>
    /// <param name="client">The client, which stays the caller's.</param>
    /// <param name="options">Settings, not changed afterwards; null for the defaults.</param>
    /// <param name="time">Clock of absolute expirations; null for the system's.</param>
    /// <param name="loggers">Where to log; null for nowhere.</param>
    /// <exception cref="OptionsValidationException">A setting is out of its bounds.</exception>
    public KvDistributedCache(
        KvCacheClient client, KvDistributedCacheOptions? options = null, TimeProvider? time = null, ILoggerFactory? loggers = null)
    {
        ArgumentNullException.ThrowIfNull(client);
        options ??= new KvDistributedCacheOptions();
        if (options.Validate() is { Count: > 0 } failures)
            throw new OptionsValidationException(Options.DefaultName, typeof(KvDistributedCacheOptions), failures);
        _client = client;
        _options = options;
        _store = new StoreOptions(Durability: options.Durability, Replicas: options.Replicas);
        _namespace = new CacheNamespace { Tenant = client.Tenant, Model = options.Name, Layout = WireProtocol.ValueLayout };
        _time = time ?? TimeProvider.System;
        _logger = (loggers ?? NullLoggerFactory.Instance).CreateLogger<KvDistributedCache>();
    }

    /// <inheritdoc/>
    public byte[]? Get(string key) => GetAsync(key).GetAwaiter().GetResult();

    /// <inheritdoc/>
    public async Task<byte[]?> GetAsync(string key, CancellationToken token = default)
    {
        var entry = new WholeArray();
        return await ReadAsync(key, entry, token).ConfigureAwait(false) ? entry.Bytes : null;
    }

    /// <inheritdoc/>
    public bool TryGet(string key, IBufferWriter<byte> destination) =>
        TryGetAsync(key, destination).AsTask().GetAwaiter().GetResult();

    /// <inheritdoc/>
    public ValueTask<bool> TryGetAsync(string key, IBufferWriter<byte> destination, CancellationToken token = default)
    {
        ArgumentNullException.ThrowIfNull(destination);
        return ReadAsync(key, destination, token);
    }

    /// <inheritdoc/>
    public void Set(string key, byte[] value, DistributedCacheEntryOptions options) =>
        SetAsync(key, value, options).GetAwaiter().GetResult();

    /// <inheritdoc/>
    public Task SetAsync(string key, byte[] value, DistributedCacheEntryOptions options, CancellationToken token = default)
    {
        ArgumentNullException.ThrowIfNull(value);
        return SetAsync(key, new ReadOnlySequence<byte>(value), options, token).AsTask();
    }

    /// <inheritdoc/>
    public void Set(string key, ReadOnlySequence<byte> value, DistributedCacheEntryOptions options) =>
        SetAsync(key, value, options).AsTask().GetAwaiter().GetResult();

    /// <inheritdoc/>
    /// <exception cref="ArgumentOutOfRangeException">An expiration is not in the future.</exception>
    /// <exception cref="ArgumentException">The value is too long.</exception>
    /// <exception cref="IOException">It could not be stored, where <see cref="KvDistributedCacheOptions.ThrowOnFailure"/> is set.
    /// </exception>
    public async ValueTask SetAsync(
        string key, ReadOnlySequence<byte> value, DistributedCacheEntryOptions options, CancellationToken token = default)
    {
        var name = NameOf(key);
        ArgumentNullException.ThrowIfNull(options);
        if (value.Length > WireProtocol.MaxValueBytes)
            throw new ArgumentException(
                $"The value has {value.Length} bytes; at most {WireProtocol.MaxValueBytes} were expected.", nameof(value));
        var (label, life) = LifeOf(options);
        var result = await _client.StoreValueAsync(
            _namespace, name, value, label.ToBytes(), _store with { TimeToLive = life }, token).ConfigureAwait(false);
        token.ThrowIfCancellationRequested();
        if (result.Stored == 1)
            return;
        var problem = result.Error ?? (result.FirstRefusal is { } refusal ? $"the silo answered {refusal}" : result.Reason.ToString());

        // Where a silo answers and has no room, what was there is old.
        if (result.Reason == MissReason.None)
            await _client.DeleteAsync(Prefix(name), token).ConfigureAwait(false);
        Fail("stored", problem);
    }

    /// <inheritdoc/>
    public void Refresh(string key) => RefreshAsync(key).GetAwaiter().GetResult();

    /// <inheritdoc/>
    /// <exception cref="IOException">It could not be done, where <see cref="KvDistributedCacheOptions.ThrowOnFailure"/> is set.
    /// </exception>
    public async Task RefreshAsync(string key, CancellationToken token = default) =>
        await ReadAsync(key, null, token).ConfigureAwait(false);

    /// <inheritdoc/>
    public void Remove(string key) => RemoveAsync(key).GetAwaiter().GetResult();

    /// <inheritdoc/>
    /// <exception cref="IOException">It is not certain that the entry is gone.</exception>
    public async Task RemoveAsync(string key, CancellationToken token = default)
    {
        var result = await _client.DeleteAsync(Prefix(NameOf(key)), token).ConfigureAwait(false);
        token.ThrowIfCancellationRequested();
        if (!result.IsConfirmed)
            throw new IOException(
                "It is not certain that the entry is gone everywhere: a silo that may have it has not answered. Remove it again.");
    }

    // Reading is using: an entry with a sliding expiration lives on.
    private async ValueTask<bool> ReadAsync(string key, IBufferWriter<byte>? destination, CancellationToken token)
    {
        var name = NameOf(key);
        var received = new ReceivedValue(destination);
        var result = await _client.LoadValueAsync(_namespace, name, received, token).ConfigureAwait(false);
        if (result.Blocks == 0)
        {
            token.ThrowIfCancellationRequested();
            if (destination is null && result.Reason != MissReason.Absent)
                Fail("refreshed", result.Error ?? result.Reason.ToString());
            return false;
        }

        var label = EntryLabel.Read(received.Label);
        if (label.Sliding > 0 && label.LifeAt(_time.GetUtcNow()) is { Ticks: > 0 } life)
            await _client.ExpireAsync(Prefix(name), life, token).ConfigureAwait(false);
        return true;
    }

    private (EntryLabel Label, TimeSpan? Life) LifeOf(DistributedCacheEntryOptions options)
    {
        var now = _time.GetUtcNow();
        var absolute = options.AbsoluteExpirationRelativeToNow is { } relative ? now + relative : options.AbsoluteExpiration;
        if (absolute <= now)
            throw new ArgumentOutOfRangeException(
                nameof(options), absolute, $"The absolute expiration is not in the future; a time behind {now:O} was expected.");
        var label = new EntryLabel(
            absolute?.ToUnixTimeMilliseconds() ?? 0,
            options.SlidingExpiration is { } sliding ? Math.Max(1, (long)Math.Ceiling(sliding.TotalMilliseconds)) : 0);
        var life = label == default ? _options.DefaultLife : label.LifeAt(now);
        return (label, life <= TimeSpan.Zero ? TimeSpan.FromMilliseconds(1) : life); // it ends in this millisecond
    }

    private void Fail(string done, string problem)
    {
        LogFailed(done, problem);
        if (_options.ThrowOnFailure)
            throw new IOException($"The entry could not be {done}: {problem}");
    }

    private KvPrefix Prefix(BlockHash name) => new(_namespace, PrefixChain.FromHashes([name], 1));

    // The characters as they are: half a surrogate pair has no UTF-8, and two such keys must not meet.
    private static BlockHash NameOf(string key)
    {
        ArgumentNullException.ThrowIfNull(key);
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(MemoryMarshal.AsBytes(key.AsSpan()), hash);
        return PrefixHasher.HashEngineKey(hash, Group);
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "An entry could not be {Done}: {Problem}")]
    private partial void LogFailed(string done, string problem);
}
