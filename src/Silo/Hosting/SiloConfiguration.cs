using KvCache.Silo.Settings;
using Microsoft.Extensions.Configuration;

namespace KvCache.Silo.Hosting;

/// <summary>The configuration of a silo.</summary>
internal static class SiloConfiguration
{
    /// <summary>Puts the file and the command line above what is there, and checks all of it.</summary>
    /// <exception cref="FormatException">A setting is wrong; the message is one sentence.</exception>
    public static void Read(IConfigurationManager configuration, FileInfo? file, Dictionary<string, string?> commandLine)
    {
        if (file is not null)
            configuration.AddJsonFile(file.FullName, optional: false);
        configuration.AddInMemoryCollection(commandLine);
        var replaced = SettingsReader.Read((IConfigurationRoot)configuration, file?.FullName);
        MachineLimits.Check(configuration, replaced);
        configuration.AddInMemoryCollection(replaced);
    }
}
