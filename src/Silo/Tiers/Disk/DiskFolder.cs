using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using KvCache.Files;

namespace KvCache.Silo.Tiers.Disk;

/// <summary>What a folder says about itself.</summary>
internal sealed record DiskManifest
{
    public required int Version { get; init; }

    /// <summary>Names the disk; its segments name it too.</summary>
    public required Guid Id { get; init; }

    /// <summary>The silo that it belongs to.</summary>
    public required string Owner { get; init; }

    /// <summary>The run of the machine in which it was written last.</summary>
    public required string Boot { get; init; }

    /// <summary>Whether the silo has ended in order, with everything on the disk.</summary>
    public required bool IsClean { get; init; }

    /// <summary>Whether the silo was alone in its cluster.</summary>
    public required bool IsAlone { get; init; }

    /// <summary>Stamp up to which the silo has certainly heard of all deletions.</summary>
    public required ulong Heard { get; init; }

    /// <summary>Number by which the cluster told this run of the silo from others; later ones are larger.</summary>
    public required int Run { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(DiskManifest))]
internal sealed partial class DiskJsonContext : JsonSerializerContext;

/// <summary>The folder of the disk tier: one silo's at a time, known by its manifest.</summary>
internal sealed class DiskFolder : IDisposable
{
    private const int Version = 1;
    private const string ManifestName = "kvcache-disk.json", LockName = "kvcache-disk.lock", SegmentEnding = ".segment";
    private const string ProbeName = "kvcache-disk.probe";
    private const int MaxManifestBytes = 1 << 16;

    /// <summary>Who may open files of a disk: the silo's user alone.</summary>
    public const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly string _path;
    private readonly FileStream _lock;
    private readonly ConcurrentDictionary<string, bool> _undeleted = [];

    private DiskFolder(string path, FileStream guard, DiskManifest manifest, bool direct)
    {
        _path = path;
        _lock = guard;
        Manifest = manifest;
        IsDirect = direct;
    }

    /// <summary>What was written last.</summary>
    public DiskManifest Manifest { get; private set; }

    /// <summary>Whether there are files that should have been deleted.</summary>
    public bool HasUndeleted => !_undeleted.IsEmpty;

    /// <summary>Whether files bypass the system's cache.</summary>
    public bool IsDirect { get; }

    /// <summary>Segment files, in no order.</summary>
    public IEnumerable<string> Segments => Directory.EnumerateFiles(_path, "*" + SegmentEnding);

    /// <summary>Takes a folder, which is made where it is missing.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="owner">Name of the silo.</param>
    /// <param name="direct">Whether the system's cache is to be bypassed.</param>
    /// <exception cref="IOException">It is another silo's, is used, or cannot be written; the message is a sentence.</exception>
    public static DiskFolder Open(string path, string owner, bool direct)
    {
        FileStream? guard = null;
        try
        {
            Directory.CreateDirectory(path);
            var manifestPath = Path.Combine(path, ManifestName);
            if (!File.Exists(manifestPath) && Directory.EnumerateFileSystemEntries(path).Any(entry => !IsOwn(entry)))
                throw new IOException(
                    $"The folder '{path}' has files of somebody else; an empty one for this silo alone was expected "
                    + $"({DiskOptions.Section}:Path).");
            guard = Lock(path);
            var known = File.Exists(manifestPath) ? Read(path, manifestPath) : null;
            if (known is not null && known.Owner != owner)
                throw new IOException(
                    $"The disk '{path}' belongs to the silo '{known.Owner}', and this one is '{owner}'. Give it its own folder, or the "
                    + $"same {DiskOptions.Section}:Owner; or empty the folder.");
            var boot = BootId();
            var first = new DiskManifest
            {
                Version = Version,
                Id = Guid.NewGuid(),
                Owner = owner,
                Boot = boot,
                IsClean = true,
                IsAlone = true,
                Heard = 0,
                Run = 0,
            };
            var manifest = (known ?? first) with { Boot = boot, IsClean = false };

            // The machine ended without the silo: what was deleted last may not have reached the disk. With a new id nothing of before is
            // this disk's.
            if (known is { IsClean: false } && known.Boot != boot)
                manifest = manifest with { Id = Guid.NewGuid() };
            var folder = new DiskFolder(path, guard, manifest, direct && CanBypassCache(path));
            folder.Save(manifest);
            folder.DeleteLeftChanges();
            return folder;
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            guard?.Dispose();
            throw e is IOException && e.Message.StartsWith("The ", StringComparison.Ordinal)
                ? e
                : new IOException($"The disk tier cannot use '{path}': {e.Message}", e);
        }
    }

    /// <summary>Path of a segment's file.</summary>
    public string PathOf(long number) =>
        Path.Combine(_path, number.ToString("d12", CultureInfo.InvariantCulture) + SegmentEnding);

    /// <summary>Replaces the manifest.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public void Save(DiskManifest manifest)
    {
        try
        {
            RegularFile.Replace(
                Path.Combine(_path, ManifestName), JsonSerializer.SerializeToUtf8Bytes(manifest, DiskJsonContext.Default.DiskManifest),
                Mode);
            Manifest = manifest;
        }
        catch (UnauthorizedAccessException e)
        {
            throw new IOException(e.Message, e); // a file system that takes nothing more says so, too
        }
    }

    /// <summary>Number of the last segment of which there is a file, complete or not; 0 for none.</summary>
    public long LastNumber => Segments.Select(NumberOf).DefaultIfEmpty().Max();

    /// <summary>Deletes a segment and what was written down about it. What cannot be deleted now is tried again.</summary>
    /// <remarks>Until it is gone, another start would find in it what was deleted meanwhile.</remarks>
    public void Delete(string segment)
    {
        if (!TryDelete(segment))
            _undeleted.TryAdd(segment, true);
    }

    /// <summary>Tries again to delete what could not be deleted.</summary>
    public void DeleteLeft()
    {
        foreach (var segment in _undeleted.Keys)
        {
            if (TryDelete(segment))
                _undeleted.TryRemove(segment, out _);
        }
    }

    /// <summary>Gives the disk a new id: nothing of before is its own any more.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public void Renew() => Save(Manifest with { Id = Guid.NewGuid() });

    public void Dispose() => _lock.Dispose();

    private static FileStream Lock(string path)
    {
        try
        {
            var options = new FileStreamOptions { Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.None };
            if (!OperatingSystem.IsWindows())
                options.UnixCreateMode = Mode;
            return new FileStream(Path.Combine(path, LockName), options);
        }
        catch (IOException e) when (e is not (DirectoryNotFoundException or FileNotFoundException))
        {
            throw new IOException(
                $"The disk '{path}' is used by another process ({e.Message}). Every silo needs a folder of its own "
                + $"({DiskOptions.Section}:Path).", e);
        }
    }

    private static DiskManifest Read(string path, string manifestPath)
    {
        DiskManifest? manifest;
        try
        {
            manifest = JsonSerializer.Deserialize(RegularFile.Read(manifestPath, MaxManifestBytes), DiskJsonContext.Default.DiskManifest);
        }
        catch (JsonException e)
        {
            throw new IOException(
                $"The manifest of the disk '{path}' is damaged ({e.Message}); empty the folder, and the silo begins anew.", e);
        }

        return manifest is null
            ? throw new IOException($"The manifest of the disk '{path}' is damaged; empty the folder, and the silo begins anew.")
            : manifest.Version == Version
                ? manifest
                : throw new IOException(
                    $"The disk '{path}' has the format {manifest.Version}; this silo reads {Version}. Start a silo of that version, or "
                    + "empty the folder.");
    }

    // A folder that is gone may come back, with its files.
    private static bool TryDelete(string segment)
    {
        try
        {
            File.Delete(segment); // first: without its changes it would have what was deleted
            File.Delete(SegmentChanges.PathOf(segment));
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static long NumberOf(string segment) =>
        long.TryParse(Path.GetFileNameWithoutExtension(segment), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0;

    // Those of a segment that is gone would be taken for another's of the same number.
    private void DeleteLeftChanges()
    {
        foreach (var changes in Directory.EnumerateFiles(_path, "*" + SegmentChanges.Ending))
        {
            if (!File.Exists(Path.ChangeExtension(changes, SegmentEnding)))
                File.Delete(changes);
        }
    }

    private static bool IsOwn(string entry) => Path.GetFileName(entry) is LockName or ManifestName + ".new" or ProbeName or "lost+found";

    private static string BootId()
    {
        const string Path = "/proc/sys/kernel/random/boot_id";
        return File.Exists(Path) ? File.ReadAllText(Path).Trim() : "";
    }

    // Some file systems take the flag and refuse the call.
    private static bool CanBypassCache(string path)
    {
        var probe = Path.Combine(path, ProbeName);
        File.Delete(probe);
        try
        {
            using var file = DirectFile.Create(probe, DiskSegment.PageBytes, direct: true);
            using var buffer = new PageBuffer();
            buffer.Take(DiskSegment.PageBytes).Clear();
            file.Write([buffer.Piece(0, DiskSegment.PageBytes)], 0);
            file.Read([buffer.Piece(0, DiskSegment.PageBytes)], 0);
            return file.IsDirect;
        }
        catch (IOException)
        {
            return false;
        }
        finally
        {
            File.Delete(probe);
        }
    }
}
