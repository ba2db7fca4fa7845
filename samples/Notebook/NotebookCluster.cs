using KvCache.QuickStart.Processes;

namespace KvCache.Notebook;

/// <summary>Several silos on this machine that are one cache.</summary>
public sealed class NotebookCluster : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-notebook-");
    private readonly SiloGroup _silos;

    private NotebookCluster() =>
        _silos = new SiloGroup(_folder.FullName, new Dictionary<string, string>(), "unix", _ => { });

    /// <summary>Data-plane addresses of the silos, of those that were killed too.</summary>
    public IReadOnlyList<string> Endpoints => [.. Enumerable.Range(0, _silos.Count).Select(_silos.EndpointOf)];

    /// <summary>Starts silos, and waits until each knows all others.</summary>
    /// <param name="silos">How many.</param>
    public static async Task<NotebookCluster> StartAsync(int silos)
    {
        var cluster = new NotebookCluster();
        try
        {
            await cluster._silos.StartAsync(silos, default);
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>Waits until other silos have copies of all that a silo has.</summary>
    /// <param name="silo">Its number, from 0 on.</param>
    public Task WaitForCopiesAsync(int silo) => _silos.WaitForCopiesAsync(silo, default);

    /// <summary>Ends a silo as a crash does.</summary>
    /// <param name="silo">Its number, from 0 on; not 0, which keeps the list of members.</param>
    public Task KillAsync(int silo) => _silos.KillAsync(silo);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _silos.DisposeAsync();
        _folder.Delete(recursive: true);
    }
}
