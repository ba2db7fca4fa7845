using KvCache.Processes;
using KvCache.Testing;

namespace KvCache.ProcessTests.Infrastructure;

/// <summary>A file system of a test's own, which can be filled, frozen and taken away. Needs the rights to mount one; without them the test
/// skips.</summary>
internal sealed class MountedDisk : IAsyncDisposable
{
    private const long Bytes = 96L << 20;

    private readonly string _root = Directory.CreateTempSubdirectory("kvcache-mount-").FullName;

    /// <summary>Where it is mounted.</summary>
    public string Mount => Path.Combine(_root, "disk");

    /// <summary>A folder on it.</summary>
    public string Folder => Path.Combine(Mount, "kvcache");

    private string Image => Path.Combine(_root, "image");

    /// <summary>Makes and mounts one.</summary>
    public static async Task<MountedDisk> CreateAsync()
    {
        Assert.SkipWhen(
            !OperatingSystem.IsLinux() || Environment.UserName != "root" || ProgramCommand.Find("mkfs.ext4") is null,
            "Mounting a file system needs root and mkfs.ext4.");
        var disk = new MountedDisk();
        try
        {
            Directory.CreateDirectory(disk.Mount);
            await using (var image = File.Create(disk.Image))
                image.SetLength(Bytes);
            await RunAsync("mkfs.ext4", "-q", "-m", "0", disk.Image);
            if (!await TryRunAsync("mount", "-o", "loop", disk.Image, disk.Mount))
                Assert.Skip("This machine does not let a file be mounted.");
            return disk;
        }
        catch
        {
            await disk.DisposeAsync();
            throw;
        }
    }

    /// <summary>Takes all of the room that is left.</summary>
    /// <returns>The file that has it.</returns>
    public string Fill()
    {
        var path = Path.Combine(Mount, "filler");
        using var file = File.Create(path, 1, FileOptions.WriteThrough);
        try
        {
            for (var chunk = new byte[1 << 20]; chunk.Length >= 4096;)
            {
                try
                {
                    file.Write(chunk);
                }
                catch (IOException)
                {
                    chunk = new byte[chunk.Length / 2];
                }
            }
        }
        catch (IOException)
        {
            // It is full.
        }

        return path;
    }

    /// <summary>Runs a program, which must succeed.</summary>
    public static async Task RunAsync(string program, params string[] arguments) =>
        Assert.True(await TryRunAsync(program, arguments), $"{program} {string.Join(' ', arguments)} failed.");

    public async ValueTask DisposeAsync()
    {
        await TryRunAsync("umount", "-l", Mount);
        await TryRunAsync("umount", "-l", Mount);
        Directory.Delete(_root, recursive: true);
    }

    private static async Task<bool> TryRunAsync(string program, params string[] arguments) =>
        (await Report.RunAsync(ProgramCommand.Of(program, arguments), Eventually.Bound)).ExitCode == 0;
}
