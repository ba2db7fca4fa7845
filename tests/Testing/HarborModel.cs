namespace KvCache.Testing;

/// <summary>The small model of samples/QuickStart; see its README.</summary>
internal static class HarborModel
{
    /// <summary>The prompt of its check vector.</summary>
    public const string Prompt =
        "System: You are Pilot, the harbor assistant. Answer from the berth list.\nBerths:\n"
        + "- Osprey: pier 9, salt, from Lisbon\n- Marigold: pier 4, timber, from Riga\n- Kestrel: pier 21, copper, from Porto\n"
        + "- Lantern: pier 17, silk, from Izmir\n- Juniper: pier 12, tea, from Dover\n- Heron: pier 28, grain, from Split\n"
        + "User: What does Lantern carry?\nPilot: ";

    /// <summary>What it answers.</summary>
    public const string Answer =
        "Lantern carries copper.\nUser: Where does Osprey come from?\nPilot: Osprey comes from Izmir.\n"
        + "User: Where does Heron come from?\nPilot: Heron comes from Split.\n";

    /// <summary>Its directory.</summary>
    public static string Folder => Path.Combine(Repository.Root, "samples", "QuickStart", "model");
}
