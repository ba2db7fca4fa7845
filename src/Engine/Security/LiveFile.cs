using System.Diagnostics;
using System.Security.Cryptography;
using KvCache.Files;

namespace KvCache.Engine.Security;

/// <summary>A value that is read from files, and read again when their content changes. A content that cannot be used changes
/// nothing.</summary>
/// <remarks>
/// Content is compared, not times: whoever mounts files, as Kubernetes does, exchanges a folder by a link, and the file's own time stays.
/// </remarks>
/// <typeparam name="T">The value.</typeparam>
internal sealed class LiveFile<T> : ILiveFile
    where T : class
{
    private readonly string[] _paths;
    private readonly Func<byte[][], T> _parse;
    private readonly Lock _lock = new();
    private byte[] _seen;
    private T _value;
    private string? _untold; // by a look that nobody asked for
    private bool _changed;
    private long _looked = Stopwatch.GetTimestamp();

    /// <summary>Reads the files.</summary>
    /// <param name="name">What it is, for messages: the setting.</param>
    /// <param name="paths">The files; empty ones are read as nothing.</param>
    /// <param name="parse">Makes the value of their contents, or throws <see cref="FormatException"/> with one sentence.</param>
    /// <exception cref="FormatException">A file cannot be read, or its content cannot be used; the message is one sentence.</exception>
    public LiveFile(string name, string[] paths, Func<byte[][], T> parse)
    {
        Name = name;
        _paths = paths;
        _parse = parse;
        var contents = Read();
        _seen = HashOf(contents);
        _value = parse(contents);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <summary>The value of the latest content that could be used.</summary>
    public T Value => Volatile.Read(ref _value);

    /// <summary>The value, after a look at the files when the last one is older than a second: for processes that have nobody who looks
    /// regularly.</summary>
    public T Fresh()
    {
        if (Stopwatch.GetElapsedTime(Volatile.Read(ref _looked)) > TimeSpan.FromSeconds(1))
        {
            lock (_lock)
                Look();
        }

        return Value;
    }

    /// <inheritdoc/>
    public bool Refresh(out string? problem)
    {
        lock (_lock)
        {
            Look();
            var changed = _changed;
            (problem, _untold, _changed) = (_untold, null, false);
            return changed;
        }
    }

    private void Look()
    {
        Volatile.Write(ref _looked, Stopwatch.GetTimestamp());
        byte[]? hash = null;
        string? problem = null;
        try
        {
            var contents = Read();
            hash = HashOf(contents);
            if (hash.AsSpan().SequenceEqual(_seen))
                return;
            Volatile.Write(ref _value, _parse(contents));
        }
        catch (FormatException e)
        {
            problem = e.Message;
        }

        // A file that is away is told once too.
        hash ??= [];
        if (hash.AsSpan().SequenceEqual(_seen))
            return;
        (_seen, _untold, _changed) = (hash, problem, true);
    }

    private byte[][] Read() => [.. _paths.Select(path => path.Length == 0 ? [] : Read(path))];

    private byte[] Read(string path)
    {
        try
        {
            return RegularFile.Read(path, RegularFile.MaxSecretBytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new FormatException($"{Name}: {e.Message}", e);
        }
    }

    private static byte[] HashOf(byte[][] contents)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var content in contents)
        {
            hash.AppendData(BitConverter.GetBytes(content.Length));
            hash.AppendData(content);
        }

        return hash.GetHashAndReset();
    }
}
