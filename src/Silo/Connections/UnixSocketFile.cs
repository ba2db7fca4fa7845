using System.Net.Sockets;

namespace KvCache.Silo.Connections;

/// <summary>The file of a Unix socket outlives a process that was killed.</summary>
internal static class UnixSocketFile
{
    /// <summary>Makes the folder of a socket where it is missing, open to everybody: who may connect, the socket's own mode says.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    public static void MakeFolder(string path)
    {
        var folder = Path.GetDirectoryName(path)!;
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException(
                $"The folder {folder} of the Unix socket '{path}' is missing and cannot be made: {e.Message} Make it for the silo's user, "
                    + "or "
                + "choose another path.", e);
        }
    }

    /// <summary>Deletes a socket that nobody listens on any more.</summary>
    /// <exception cref="IOException">The path is not a socket, or somebody listens.</exception>
    public static void RemoveStale(string path)
    {
        if (!File.Exists(path))
            return;
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e)
        {
            if (!IsSocket(path))
                throw new IOException($"'{path}' exists and is not a socket. Give the data plane's Unix socket a path of its own.", e);
            if (e.SocketErrorCode != SocketError.ConnectionRefused)
                throw new IOException($"The Unix socket '{path}' exists and cannot be asked whether somebody listens: {e.Message}.", e);
            File.Delete(path); // left behind by a killed silo: nobody listens
            return;
        }

        throw new IOException($"Another process listens on the Unix socket '{path}'. Give every silo a path of its own.");
    }

    // Sockets are what cannot be opened as a file.
    private static bool IsSocket(string path)
    {
        try
        {
            using var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            return false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return e is IOException;
        }
    }
}
