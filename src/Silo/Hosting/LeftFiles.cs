using System.Collections.Concurrent;

namespace KvCache.Silo.Hosting;

/// <summary>Files that the silo has made and must not leave behind, also when it ends without stopping in order: an arena in /dev/shm is
/// memory of the machine until somebody deletes it.</summary>
internal sealed class LeftFiles
{
    private readonly ConcurrentBag<string> _paths = [];

    /// <summary>Says that a file is this silo's.</summary>
    public void Add(string path) => _paths.Add(path);

    /// <summary>Deletes what is there. Only for a silo whose parts have not been disposed: behind them, a path may be another
    /// silo's.</summary>
    public void Delete()
    {
        foreach (var path in _paths)
        {
            try
            {
                File.Delete(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Console.Error.WriteLine($"kvcache-silo: {path} could not be deleted: {e.Message}");
            }
        }
    }
}
