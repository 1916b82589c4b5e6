/* Networks, and VMs' cards in them, in plinth.toml. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/config_net.h"
#include "tests/unit/config_rig.h"

#define GOOD(line)              assert_string_equal(parse(line), "")
#define BAD(line, error)        assert_string_equal(parse(line), error)
#define BAD2(more, error)       assert_string_equal(parse2("", more), error)
#define BAD3(line, more, error) assert_string_equal(parse2(line, more), error)

static void reads_all_of_a_card(void **state)
{
    const struct config_nic *nic = config.vm[0].nic;

    (void)state;
    GOOD("");
    assert_int_equal(config.vm[0].nic_count, 0);
    assert_int_equal(config.network_count, 0);
    GOOD("networks = [ 'lan0', { name = 'lan1', mac = '52:54:00:Ab:34:56', vlan = 10, trunk = [20, 4094], "
         "rate = "
         "'100Mbit', mac-spoofing = true }, { name = 'lan0' } ]");
    assert_int_equal(config.vm[0].nic_count, 3);
    assert_string_equal(nic[0].name, "lan0");
    assert_int_equal(nic[0].vlan + nic[0].trunk_count + nic[0].rate + nic[0].mac_spoofing, 0);
    assert_string_equal(nic[1].name, "lan1");
    assert_memory_equal(nic[1].mac, "\x52\x54\x00\xab\x34\x56", 6);
    assert_int_equal(nic[1].vlan, 10);
    assert_int_equal(nic[1].trunk_count, 2);
    assert_int_equal(nic[1].trunk[0], 20);
    assert_int_equal(nic[1].trunk[1], 4094);
    assert_int_equal(nic[1].rate, 100000000);
    assert_true(nic[1].mac_spoofing);
    assert_int_equal(config.network_count, 2);
    assert_string_equal(config.network[1].name, "lan1");
    assert_int_equal(config.network[1].mtu, 1500);
    assert_int_equal(config.network[1].storm, 1000);
}

static void reads_all_of_a_network(void **state)
{
    (void)state;
    assert_string_equal(
        parse2("networks = ['lan1']",
               "[network.lan0]\nuplink = 'pci:0A:1f.7'\nmtu = 9000\nstorm = 0\n[network.lan1]"),
        "");
    assert_int_equal(config.network_count, 2);
    assert_string_equal(config.network[0].name, "lan0");
    assert_string_equal(config.network[0].uplink, "pci:0a:1f.7");
    assert_int_equal(config.network[0].mtu, 9000);
    assert_int_equal(config.network[0].storm, 0);
    assert_string_equal(config.network[1].uplink, "");
}

/* An address that was given is not changed, one that was not is the same in every build. */
static void addresses_are_derived(void **state)
{
    uint8_t mac[6];

    (void)state;
    GOOD("networks = ['lan0', 'lan0']");
    assert_memory_equal(config.vm[0].nic[0].mac, "\x02\x19\x04\x8f\x3d\x7a", 6);
    assert_memory_not_equal(config.vm[0].nic[1].mac, config.vm[0].nic[0].mac, 6);
    for (unsigned i = 0; i < 2; i++) {
        config_derive_mac("a", i, mac);
        assert_memory_equal(config.vm[0].nic[i].mac, mac, 6);
        assert_int_equal(mac[0], 2);
    }
}

static void wrong_cards(void **state)
{
    (void)state;
    BAD("networks = 'lan0'", "4:12 networks must be an array such as [\"lan0\"], not a string");
    BAD("networks = [7]",
        "4:13 a network must be a string such as \"lan0\" or { name = \"lan0\", vlan = 10 }, not an "
        "integer");
    BAD("networks = ['a','b','c','d','e']", "4:29 a VM takes at most 4 networks");
    BAD("networks = [{ vlan = 1 }]",
        "4:13 a network of [vm.a] has no name; add a line such as: name = \"lan0\"");
    BAD("networks = ['']", "4:13 name is empty; write \"lan0\", or leave the key out");
    BAD("networks = ['lan 0']",
        "4:13 'lan 0' is no name for a network: 1 to 31 letters, digits, '-' and '_'");
    BAD("networks = [{ name = 'a', vlna = 1 }]",
        "4:27 unknown key 'vlna' in a network of [vm.a]; did you mean 'vlan'?");
    BAD("networks = [{ name = 'a', mtu = 1 }]",
        "4:27 unknown key 'mtu' in a network of [vm.a]; it belongs below [network.NAME]");
    BAD("network = ['lan0']", "4:1 unknown key 'network' in [vm.a]; did you mean 'networks'?");
    BAD("networks = [{ name = 'a', vlan = 0 }]", "4:34 vlan must be 1 to 4094");
    BAD("networks = [{ name = 'a', vlan = 4095 }]", "4:34 vlan must be 1 to 4094");
    BAD("networks = [{ name = 'a', trunk = 10 }]",
        "4:35 trunk must be an array such as [10, 20], not an integer");
    BAD("networks = [{ name = 'a', trunk = [10, 4095] }]",
        "4:40 trunk must be VLANs from 1 to 4094, such as [10, 20]");
    BAD("networks = [{ name = 'a', trunk = ['x'] }]",
        "4:36 trunk must be VLANs from 1 to 4094, such as [10, 20]");
    BAD("networks = [{ name = 'a', trunk = [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18] }]",
        "4:75 trunk takes at most 16 VLANs");
    BAD("networks = [{ name = 'a', vlan = 10, trunk = [20, 10] }]",
        "4:38 trunk has VLAN 10, which vlan says is without a tag; take one of the two out");
    BAD("networks = [{ name = 'a', mac-spoofing = 1 }]",
        "4:42 mac-spoofing must be true or false, not an integer");
}

static void wrong_values(void **state)
{
    static const char mac[] = "4:33 mac must be six bytes such as \"52:54:00:12:34:56\"";
    static const char rate[] =
        "4:34 rate must be a whole number with kbit, Mbit or Gbit behind it, such as \"100Mbit\"";
    static const char range[] =
        "4:34 rate must be 64kbit to 400Gbit a second; for no limit leave the key out";
    static const struct {
        const char *key, *value, *error;
    } wrong[] = {
        { "mac", "", mac },
        { "mac", "52:54:00:12:34", mac },
        { "mac", "52:54:00:12:34:56:78", mac },
        { "mac", "52:54:00:12:34:5g", mac },
        { "mac", "52-54-00-12-34-56", mac },
        { "mac", "525400123456", mac },
        { "mac", "52:54:00:12:34:56 and so on, and on", mac },
        { "mac", "53:54:00:12:34:56", "4:33 mac is the address of a group: its first byte must be even" },
        { "mac", "00:00:00:00:00:00", "4:33 mac is no address: not all of it may be 0" },
        { "rate", "", rate },
        { "rate", "100", rate },
        { "rate", "Mbit", rate },
        { "rate", "100M", rate },
        { "rate", "100 Mbit", rate },
        { "rate", "-1Mbit", rate },
        { "rate", "0Mbit", range },
        { "rate", "63kbit", range },
        { "rate", "401Gbit", range },
        { "rate", "99999999999999999999999Gbit", range },
    };
    char line[128];

    (void)state;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(line, sizeof(line), "networks = [{ name = 'a', %s = '%s' }]", wrong[i].key, wrong[i].value);
        BAD(line, wrong[i].error);
    }
    GOOD("networks = [{ name = 'a', rate = '64kbit' }, { name = 'b', rate = '400Gbit' }]");
    assert_int_equal(config.vm[0].nic[0].rate, 64000);
    assert_int_equal(config.vm[0].nic[1].rate, 400000000000);
}

static void wrong_networks(void **state)
{
    static const char uplink[] = "6:10 uplink must be a network card of the machine such as \"pci:00:03.0\"; "
                                 "'pci' in the shell lists them";
    static const char *const uplinks[] = {
        "",          "pci",          "pci:",        "eth0",        "pci:0:3.0",  "pci:00:20.0", "pci:00:03.8",
        "pci:00:03", "pci:00:03.0 ", "PCI:00:03.0", "pci:00-03.0", "usb:00:03.0"
    };
    char text[64];

    (void)state;
    for (unsigned i = 0; i < sizeof(uplinks) / sizeof(uplinks[0]); i++) {
        snprintf(text, sizeof(text), "[network.a]\nuplink = '%s'", uplinks[i]);
        BAD2(text, uplink);
        assert_false(config.vm[0].broken); /* the VMs can go without it */
    }
    BAD2("[network.a]\nmtu = 575", "6:7 mtu must be 576 to 65535");
    BAD2("[network.a]\nmtu = 65536", "6:7 mtu must be 576 to 65535");
    BAD2("[network.a]\nmtu = '1500'", "6:7 mtu must be an integer such as 9000, not a string");
    BAD2("[network.a]\nstorm = -1", "6:9 storm must be 0 to 1000000");
    BAD2("[network.a]\nupling = 1", "6:1 unknown key 'upling' in [network.a]; did you mean 'uplink'?");
    BAD2("[network.a]\nmemory = 1", "6:1 unknown key 'memory' in [network.a]; it belongs below [vm.NAME]");
    BAD2("[network.'a b']", "5:10 'a b' is no name for a network: 1 to 31 letters, digits, '-' and '_'");
    BAD2("[network.'a b']\nmtu = 1",
         "5:10 'a b' is no name for a network: 1 to 31 letters, digits, '-' and '_'");
    BAD2("[network.a]\n[network.a]\nmtu = 1",
         "6:10 [network.a] was described already in line 5; put both together");
    BAD2("[netwrok.a]", "5:2 unknown table 'netwrok'; did you mean 'network'?");
    BAD2("[network]\na = 1",
         "6:5 'a' must be a table, not an integer; write [network.NAME] on a line of its own");
    BAD2("[network.a]\nuplink = 'pci:00:03.0'\n[network.b]\nuplink = 'pci:00:03.0'",
         "8:1 uplink pci:00:03.0 is that of [network.a]; give each a card of its own");
    assert_string_equal(config.network[1].uplink, "");
}

static void addresses_are_unique_in_a_network(void **state)
{
    static const char other[] =
        "[vm.b]\nmemory='2M'\nkernel='k'\nnetworks=[{name='%s',mac='02:00:00:00:00:01'}]";
    char text[128];

    (void)state;
    snprintf(text, sizeof(text), other, "lan0");
    BAD3("networks=[{name='lan0',mac='02:00:00:00:00:01'}]", text,
         "8:24 mac 02:00:00:00:00:01 is in network 'lan0' already, in [vm.a]; give each card one of its own");
    assert_false(config.vm[0].broken);
    assert_true(config.vm[1].broken);
    snprintf(text, sizeof(text), other, "lan1");
    assert_string_equal(parse2("networks=[{name='lan0',mac='02:00:00:00:00:01'}]", text), "");
    BAD("networks=[{name='a',mac='02:00:00:00:00:01'},{name='a',mac='02:00:00:00:00:01'}]",
        "4:56 mac 02:00:00:00:00:01 is in network 'a' already, in [vm.a]; give each card one of its own");
}

static void too_many_networks(void **state)
{
    char text[4096] = "";

    (void)state;
    for (unsigned i = 0; i < CONFIG_MAX_NETWORKS; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "[network.n%u]\n", i);
    assert_string_equal(parse2("networks = ['n31']", text), "");
    BAD3("networks = ['n31', 'x']", text, "4:20 network 'x' is one too many: there can be 32");
    strcat(text, "[network.x]\nmtu = 1");
    BAD2(text, "37:10 [network.x] is one too many: there can be 32 networks");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_of_a_card),
        cmocka_unit_test(reads_all_of_a_network),
        cmocka_unit_test(addresses_are_derived),
        cmocka_unit_test(wrong_cards),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(wrong_networks),
        cmocka_unit_test(addresses_are_unique_in_a_network),
        cmocka_unit_test(too_many_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
