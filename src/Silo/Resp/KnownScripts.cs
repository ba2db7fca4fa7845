using System.Collections.Concurrent;
using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Text;

namespace KvCache.Silo.Resp;

/// <summary>What a known script does, with the first key and the arguments of its call.</summary>
internal enum KnownScript
{
    /// <summary>Deletes the key if its value is the first argument.</summary>
    DeleteIfEqual,

    /// <summary>Gives the key the life of the second argument, in ms, if its value is the first.</summary>
    ExpireIfEqual,

    /// <summary>The same, for a key that has a life; the time is added to it where the third argument is 0.</summary>
    ExtendIfEqual,

    /// <summary>As <see cref="ExpireIfEqual"/>, and sets a key that is not there; -1 for one with another value.</summary>
    ExpireOrSet,

    /// <summary>Sets the fields absexp, sldexp and data, and a life in seconds where the third argument is not -1.</summary>
    SetEntry,

    /// <summary>Reads the fields that the arguments name.</summary>
    GetFields,
}

/// <summary>
/// The scripts of common locks and of .NET's distributed cache, known by their text: Lua is not run here. White space, quotes and capitals
/// do not matter. A client that names a script by its SHA-1 is told NOSCRIPT until somebody has sent it, as by Redis.
/// </summary>
internal sealed class KnownScripts
{
    private const int MostNames = 1024;

    private static readonly FrozenDictionary<string, KnownScript> ByText = new (string Text, KnownScript Script)[]
    {
        // Redis' documentation of SET, RedLock.net, redlock of npm to version 4, DistributedLock.
        ("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end", KnownScript.DeleteIfEqual),
        ("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0", KnownScript.DeleteIfEqual),
        ("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end",
            KnownScript.ExpireIfEqual),
        ("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0",
            KnownScript.ExpireIfEqual),

        // RedLock.net, to extend.
        ("local currentVal = redis.call('get', KEYS[1]) if (currentVal == false) then "
            + "return redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2]) and 1 or 0 "
            + "elseif (currentVal == ARGV[1]) then return redis.call('pexpire', KEYS[1], ARGV[2]) else return -1 end",
            KnownScript.ExpireOrSet),

        // redis-py's Lock: release, reacquire, extend.
        (IfTokenIsMine + "redis.call('del', KEYS[1]) return 1", KnownScript.DeleteIfEqual),
        (IfTokenIsMine + "redis.call('pexpire', KEYS[1], ARGV[2]) return 1", KnownScript.ExpireIfEqual),
        (IfTokenIsMine + "local expiration = redis.call('pttl', KEYS[1]) if not expiration then expiration = 0 end "
            + "if expiration < 0 then return 0 end local newttl = ARGV[2] if ARGV[3] == '0' then newttl = ARGV[2] + expiration end "
            + "redis.call('pexpire', KEYS[1], newttl) return 1",
            KnownScript.ExtendIfEqual),

        // Microsoft.Extensions.Caching.StackExchangeRedis, to 8; its later versions send commands.
        ("redis.call('HSET', KEYS[1], 'absexp', ARGV[1], 'sldexp', ARGV[2], 'data', ARGV[4]) "
            + "if ARGV[3] ~= '-1' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end return 1", KnownScript.SetEntry),
        ("redis.call('HMSET', KEYS[1], 'absexp', ARGV[1], 'sldexp', ARGV[2], 'data', ARGV[4]) "
            + "if ARGV[3] ~= '-1' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end return 1", KnownScript.SetEntry),
        ("return redis.call('HMGET', KEYS[1], unpack(ARGV))", KnownScript.GetFields),
    }.ToFrozenDictionary(known => Normal(known.Text), known => known.Script, StringComparer.Ordinal);

    private const string IfTokenIsMine =
        "local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end ";

    private readonly ConcurrentDictionary<string, KnownScript> _byName = new(StringComparer.Ordinal);

    /// <summary>The script of a text; null when it is not known.</summary>
    public static KnownScript? Find(ReadOnlySpan<byte> text) =>
        ByText.TryGetValue(Normal(Encoding.UTF8.GetString(text)), out var script) ? script : null;

    /// <summary>Name of a script, as EVALSHA has it.</summary>
    public static string NameOf(ReadOnlySpan<byte> text)
    {
#pragma warning disable CA5350 // Redis names scripts so; nothing is protected by it
        return Convert.ToHexStringLower(SHA1.HashData(text));
#pragma warning restore CA5350
    }

    /// <summary>Takes note of a known script's text, which may be written in many ways.</summary>
    public void Add(ReadOnlySpan<byte> text, KnownScript script)
    {
        if (_byName.Count < MostNames)
            _byName[NameOf(text)] = script;
    }

    /// <summary>The script of a name; null when nobody has sent it.</summary>
    public KnownScript? Named(string name) => _byName.TryGetValue(name.ToLowerInvariant(), out var script) ? script : null;

    /// <summary>Forgets the names.</summary>
    public void Clear() => _byName.Clear();

    // Nothing in these scripts depends on what is left out.
    private static string Normal(string text) => string.Concat(
        text.Split('\n').Select(line => line.Split("--")[0])
            .SelectMany(line => line.Where(letter => !char.IsWhiteSpace(letter) && letter != ';'))
            .Select(letter => letter == '"' ? '\'' : char.ToLowerInvariant(letter)));
}
