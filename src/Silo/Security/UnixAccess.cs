using System.Globalization;
using System.Runtime.InteropServices;

namespace KvCache.Silo.Security;

/// <summary>Who else on this machine may open a file of the silo.</summary>
internal static partial class UnixAccess
{
    private const string OwnerOnly = "0600";

    // struct group of Linux, 64 bit: name, password, number.
    private const int NumberOffset = 16;

    /// <summary>What is wrong with the mode and the group of a setting; null when nothing is.</summary>
    /// <param name="section">Section and front part of the settings' names, for messages.</param>
    /// <param name="mode">Octal mode, as of <c>chmod</c>.</param>
    /// <param name="group">Name or number of a group; empty for the silo's own.</param>
    public static string? FindProblem(string section, string mode, string group)
    {
        if (TryParse(mode) is null)
            return $"{section}Mode is '{mode}'; an octal mode was expected, for example 0660.";
        return group.Length > 0 && OperatingSystem.IsLinux() && NumberOf(group) is null
            ? $"{section}Group is '{group}', and this machine has no such group."
            : null;
    }

    /// <summary>Gives a file its mode and group.</summary>
    /// <exception cref="IOException">The silo's user may not give it to that group.</exception>
    public static void Apply(string path, string mode, string group)
    {
        if (!OperatingSystem.IsLinux())
            return;

        // Nobody of the old group may come in between.
        File.SetUnixFileMode(path, TryParse(OwnerOnly)!.Value);
        if (group.Length > 0 && ChangeOwner(path, -1, NumberOf(group) ?? -1) != 0)
            throw new IOException(
                $"'{path}' cannot be given to the group '{group}': {Marshal.GetLastPInvokeErrorMessage()}. The silo's user has to be a "
                + "member of it.");
        File.SetUnixFileMode(path, TryParse(mode)!.Value);
    }

    private static UnixFileMode? TryParse(string mode)
    {
        var bits = 0;
        foreach (var digit in mode)
        {
            if (digit is < '0' or > '7')
                return null;
            bits = (bits * 8) + (digit - '0');
            if (bits > 0x1FF)
                return null;
        }

        return mode.Length >= 3 ? (UnixFileMode)bits : null;
    }

    private static int? NumberOf(string group)
    {
        if (int.TryParse(group, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            return number;
        var entry = FindGroup(group);
        return entry == 0 ? null : Marshal.ReadInt32(entry, NumberOffset);
    }

    [LibraryImport("libc", EntryPoint = "chown", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int ChangeOwner(string path, int user, int group);

    [LibraryImport("libc", EntryPoint = "getgrnam", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint FindGroup(string name);
}
