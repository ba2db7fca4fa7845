using System.Buffers.Binary;
using System.Globalization;
using System.Net.Sockets;

namespace KvCache.Engine.Wire;

/// <summary>The process at the other end of a Unix socket. A number alone is not enough: the system gives it away again.</summary>
/// <param name="Id">Its number, as this process's PID namespace knows it.</param>
/// <param name="Started">When it was started, in ticks of the system's clock.</param>
internal readonly record struct PeerProcess(int Id, long Started)
{
    private const int SolSocket = 1, PeerCredentials = 17, CredentialBytes = 12;

    /// <summary>The process that connected a Unix socket; null when the socket is another one, or the process is of a PID namespace that
    /// cannot be seen from here.</summary>
    public static PeerProcess? Of(Socket socket)
    {
        if (socket.AddressFamily != AddressFamily.Unix || !OperatingSystem.IsLinux())
            return null;
        Span<byte> credentials = stackalloc byte[CredentialBytes];
        if (socket.GetRawSocketOption(SolSocket, PeerCredentials, credentials) != CredentialBytes)
            return null;
        var id = BinaryPrimitives.ReadInt32LittleEndian(credentials);
        return id > 0 && StartOf(id) is { } started and > 0 ? new PeerProcess(id, started) : null;
    }

    /// <summary>Whether the process still runs. One that has ended and was not waited for does not; one that cannot be looked at, as when
    /// this process has no file left, does: its memory must not be given to others.</summary>
    public bool IsAlive => StartOf(Id) is { } started ? started == Started : !IsGone(Id);

    // Field 22 of /proc/[pid]/stat (proc(5)); the name in field 2 may contain anything, so that fields are counted behind its last
    // parenthesis.
    // Ended is 0, which no process was started at; null when it cannot be read.
    private static long? StartOf(int id)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{id}/stat");
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? 0 : long.Parse(fields[19], CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    // Needs no file.
    private static bool IsGone(int id) => !Directory.Exists($"/proc/{id}");
}
